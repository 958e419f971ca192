-- What an answer of Keepa's says of the bucket, weighed against our own accounting (T7).
-- include: keys, ledger, clock, argument, holds, lumps, units
-- include when needed: doubt

-- So many holds on either side of a moment are read.
local HELD_BEFORE_AT_MOST = 300
local MINUTE, whole, state = units.MINUTE, units.whole, ledger.state

-- "tokensLeft|refillIn, ms|refillRate|flow, millionths|us since its headers came"
local function parse(record)
  local number = argument.number
  local tokens, refill_in, rate, flow, age = string.match(
    record, '^(-?%d+)|(%d+)|(%d+)|(-?%d+)|(%d+)$')
  if not tokens then
    error('BADARG observation')
  end
  return {
    tokens = number(tokens), refill_in = number(refill_in) * 1000, rate = number(rate),
    flow = number(flow), seen_at = clock.now - number(age),
  }
end

local function sum(numbers)
  local total = 0
  for _, number in ipairs(numbers) do
    total = total + number
  end
  return total
end

-- Costs of the holds that began before that moment: what may be in an answer of then, uncounted by us
-- (C3). Too low a sum is careful: none while sums are not to be trusted, and where too many began on
-- either side, only those that are read.
local function held_before(moment)
  if state.recount_at then
    return 0
  end
  local later = redis.call(
    'ZRANGEBYSCORE', keys.starts, '(' .. whole(moment), '+inf', 'LIMIT', 0, HELD_BEFORE_AT_MOST)
  if #later < HELD_BEFORE_AT_MOST then
    return state.held - sum(holds.costs_of(later))
  end
  return sum(holds.costs_of(redis.call(
    'ZRANGEBYSCORE', keys.starts, '-inf', whole(moment), 'LIMIT', 0, HELD_BEFORE_AT_MOST)))
end

-- T is right; Keepa's lump phase may be later than ours.
local function follow_phase(lump_at, gain, capacity, is_newest)
  -- Half a minute tells a later phase from an earlier one: the same number of lumps, only later (C9).
  local later = (lump_at - state.lump_at) % MINUTE
  if later < MINUTE / 2 then
    state.lump_at = state.lump_at + later
  elseif is_newest and lump_at > state.lump_at and state.refill_rate > 0 then
    -- Keepa's lump has come and ours is still due: under the plan of then, or of now, whichever
    -- brings less (C10).
    state.late_gain = math.min(
      gain, state.late_gain or lumps.gain_of(state.refill_rate, state.flow))
    state.late_capacity = math.min(
      capacity, state.late_capacity or lumps.capacity_of(state.refill_rate))
  end
end

-- consumed_then: C when its call began. An answer is already old when it arrives: what others settled
-- since may be missing in it (the lower bound), what is in flight may be in it (the upper bound).
local function weigh(observation, consumed_then)
  local gain = lumps.gain_of(observation.rate, observation.flow)
  local capacity = lumps.capacity_of(observation.rate)
  local is_newest = not state.observed_at or observation.seen_at >= state.observed_at
  local lump_at = observation.seen_at + observation.refill_in
  local due = lumps.due(lump_at)
  lump_at = lump_at + due * MINUTE
  local told = lumps.after(observation.tokens, due, gain, capacity)
  -- The lumps first: the other order caps a full bucket too high (C2).
  local lowest = told - (state.consumed - consumed_then)
  local highest = told
  if not state.balance or state.balance > told or state.doubtful + state.suspected > 0 then
    -- Else what is in flight makes no difference, and need not be read.
    highest = lumps.after(
      observation.tokens + held_before(observation.seen_at), due, gain, capacity)
  end

  if not state.balance or state.balance < lowest or state.balance > highest then
    doubt().correct(lowest, highest, lump_at)
  else
    follow_phase(lump_at, gain, capacity, is_newest)
  end
  if state.doubtful + state.suspected > 0 then
    doubt().narrow(highest - state.balance)
  end
  if is_newest then
    state.refill_rate, state.flow = observation.rate, observation.flow
    state.observed_at = observation.seen_at
  end
end

return { parse = parse, weigh = weigh }
