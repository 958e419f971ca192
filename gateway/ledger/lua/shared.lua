-- Steps that every transition shares. This text is put in front of each transition's own file.
--
-- KEYS[1] ledger    hash: the balance and everything that is one per account
-- KEYS[2] holds     hash: id -> "cost|start|expiry|epoch|service|endpoint", or "resolved" (a marker, see mark)
-- KEYS[3] expiries  zset: id -> when the hold (or the marker) ends, microseconds
-- KEYS[4] starts    zset: id -> when the hold began, microseconds
-- KEYS[5] services  hash: "<service>:used", "<service>:denied" -> tokens, calls
-- ARGV[1] run id of the Redis server that this connection talks to
-- ARGV[2] learning time, microseconds: how long a new epoch admits nothing
-- ARGV[3] and on: the transition's own
--
-- Times are microseconds of Redis' own clock, tokens whole numbers, flows millionths of a token.
-- A reply is {code, epoch, known, balance, held, rate, flow, microseconds to the next lump,
-- microseconds since the newest observation, consumed, lost, spent by others, given back, reaped
-- holds, reaped tokens, overrun, then the transition's own}.

local LEDGER, HOLDS, EXPIRIES, STARTS, SERVICES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RUN_ID, LEARNING = ARGV[1], tonumber(ARGV[2])

-- Codes of the first element of a reply; the same as Code in replies.py.
local DONE, UNKNOWN, FLOOR, CAPACITY, RATE, RESOLVED = 0, 1, 2, 3, 4, 5

local MINUTE = 60000000
local MICRO = 1000000
local CAPACITY_MINUTES = 60
-- A marker outlives every late copy of a transition that could still be under way.
local MARKER_LIFE = 600 * MICRO
-- At most so many holds are reaped by one script, so that none blocks Redis for long.
local REAP_AT_MOST = 500

local function whole(number)
  return string.format('%.0f', number)
end

-- A number of ARGV, or an error before anything was written.
local function argument(index)
  local number = tonumber(ARGV[index])
  if number == nil or number ~= math.floor(number) then
    error('BADARG argument ' .. index .. ' is no whole number')
  end
  return number
end

local clock = redis.call('TIME')
local NOW = tonumber(clock[1]) * MICRO + tonumber(clock[2])

-- Numbers kept in the ledger hash, and what each is before it was ever written.
-- balance is T, consumed C, consumed_since_lump S of the accounting rule. withheld is what the last
-- lump may have brought beyond T, see fall_lumps. balance, lump_at and observed_at are false while unknown.
-- late_gain and late_capacity are the plan that our next lump fell under at Keepa, see weigh; false: today's.
local FIELDS = {
  'epoch', 'balance', 'lump_at', 'refill_rate', 'flow', 'observed_at', 'consumed',
  'consumed_since_lump', 'withheld', 'late_gain', 'late_capacity', 'held', 'rate_full_at',
  'refresh_until', 'used', 'requests',
}
local DEFAULTS = {
  epoch = false, balance = false, lump_at = false, refill_rate = 0, flow = 0, observed_at = false,
  consumed = 0, consumed_since_lump = 0, withheld = 0, late_gain = false, late_capacity = false,
  held = 0, rate_full_at = 0, refresh_until = 0, used = 0, requests = 0,
}

local events = { lost = 0, spent = 0, back = 0, reaped = 0, reaped_tokens = 0, overrun = 0 }

local stored = redis.call('HMGET', LEDGER, 'run_id', unpack(FIELDS))
local state = {}
for i, field in ipairs(FIELDS) do
  state[field] = tonumber(stored[i + 1] or '') or DEFAULTS[field]
end

local function save()
  local changed = {}
  for i, field in ipairs(FIELDS) do
    local value = state[field] and whole(state[field]) or ''
    if value ~= (stored[i + 1] or '') then
      changed[#changed + 1] = field
      changed[#changed + 1] = value
    end
  end
  if stored[1] ~= RUN_ID then
    changed[#changed + 1] = 'run_id'
    changed[#changed + 1] = RUN_ID
  end
  if #changed > 0 then
    redis.call('HSET', LEDGER, unpack(changed))
  end
end

local function read_hold(id)
  local record = redis.call('HGET', HOLDS, id)
  if not record then
    return nil
  end
  local cost, start, expiry, epoch, service = string.match(record, '^(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|')
  if not cost then
    return { marker = true }
  end
  return {
    cost = tonumber(cost), start = tonumber(start), expiry = tonumber(expiry),
    epoch = tonumber(epoch), service = service,
  }
end

local function write_hold(id, cost, start, expiry, epoch, service, endpoint)
  redis.call('HSET', HOLDS, id, table.concat(
    { whole(cost), whole(start), whole(expiry), whole(epoch), service, endpoint }, '|'))
  redis.call('ZADD', EXPIRIES, whole(expiry), id)
  redis.call('ZADD', STARTS, whole(start), id)
  state.held = state.held + cost
end

-- Remember that an id is resolved, where its absence alone could not say so: a late or resent
-- transition of a call that began in an older epoch, or whose reserve has not run yet.
local function mark(id)
  redis.call('HSET', HOLDS, id, 'resolved')
  redis.call('ZADD', EXPIRIES, whole(NOW + MARKER_LIFE), id)
  redis.call('ZREM', STARTS, id)
end

local function drop_hold(id, hold)
  redis.call('HDEL', HOLDS, id)
  redis.call('ZREM', EXPIRIES, id)
  redis.call('ZREM', STARTS, id)
  state.held = state.held - hold.cost
end

-- What each lump surely brings. Keepa rounds; rounding down can only be too careful.
local function gain_of(rate, flow)
  return math.floor(math.max(0, rate * MICRO - flow) / MICRO)
end

-- tokens after so many lumps into a bucket of that capacity; a lump never lowers a balance.
local function after_lumps(tokens, lumps, gain, capacity)
  return math.max(tokens, math.min(tokens + lumps * gain, capacity))
end

-- How many lumps of a schedule with one at `at` have come by now.
local function lumps_due(at)
  if at > NOW then
    return 0
  end
  return math.floor((NOW - at) / MINUTE) + 1
end

-- The store was found empty, restarted or failed over: what it says of the balance may be old, the
-- holds it has are kept, and the others come back by keep.
local function begin_epoch()
  state.epoch = NOW
  state.balance, state.lump_at, state.observed_at = false, false, false
  state.consumed, state.consumed_since_lump, state.withheld = 0, 0, 0
  state.late_gain, state.late_capacity = false, false
  state.refresh_until = 0
  state.held = 0
  for _, record in ipairs(redis.call('HVALS', HOLDS)) do
    state.held = state.held + tonumber(string.match(record, '^(%d+)|') or 0)
  end
end

-- The balance after the next lump. What was settled since our last one may have been spent after the
-- true lump came, and overflowed the bucket: it leaves no room.
local function after_next_lump()
  local gain = state.late_gain or gain_of(state.refill_rate, state.flow)
  local capacity = state.late_capacity or CAPACITY_MINUTES * state.refill_rate
  return after_lumps(state.balance, 1, gain, capacity - state.consumed_since_lump)
end

-- What the first lump due leaves out to be careful (withheld) is no drift when an observation brings
-- it back.
local function fall_lumps()
  if not state.balance then
    return
  end
  local due = lumps_due(state.lump_at)
  if due == 0 then
    return
  end
  local gain = gain_of(state.refill_rate, state.flow)
  local capacity = CAPACITY_MINUTES * state.refill_rate
  local hoped = state.balance + state.withheld
  local ideal = after_lumps(hoped, due, gain, capacity)
  local after = after_lumps(after_next_lump(), due - 1, gain, capacity)
  events.lost = events.lost + math.max(0, due * gain - (ideal - hoped))
  state.withheld = math.max(0, ideal - after)
  state.balance = after
  state.consumed_since_lump = 0
  state.late_gain, state.late_capacity = false, false
  state.lump_at = state.lump_at + due * MINUTE
end

local function tally(service, what, count)
  if count ~= 0 then
    redis.call('HINCRBY', SERVICES, service .. ':' .. what, whole(count))
  end
end

-- tokens left the bucket. consumed (C) is raised by the caller, after its observation was weighed.
local function spend(tokens, service)
  if state.balance then
    state.balance = state.balance - tokens
  end
  state.consumed_since_lump = state.consumed_since_lump + tokens
  state.used = state.used + tokens
  tally(service, 'used', tokens)
end

-- A hold that nobody resolved in time counts as spent; the next observation corrects it where Keepa
-- never charged it.
local function reap()
  local due = redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', whole(NOW), 'LIMIT', 0, REAP_AT_MOST)
  for _, id in ipairs(due) do
    local hold = read_hold(id)
    if not hold or hold.marker then
      redis.call('HDEL', HOLDS, id)
      redis.call('ZREM', EXPIRIES, id)
    else
      drop_hold(id, hold)
      spend(hold.cost, hold.service)
      state.consumed = state.consumed + hold.cost
      if hold.cost > 0 then
        events.reaped = events.reaped + 1
        events.reaped_tokens = events.reaped_tokens + hold.cost
      end
      if hold.epoch ~= state.epoch then
        mark(id)
      end
    end
  end
end

-- Costs of the holds that began before that moment: what may be in an answer of then, uncounted by us.
local function held_before(moment)
  local later = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', STARTS, '(' .. whole(moment), '+inf')) do
    local hold = read_hold(id)
    later = later + (hold and hold.cost or 0)
  end
  return state.held - later
end

local function read_observation(first)
  return {
    tokens = argument(first), refill_in = argument(first + 1) * 1000, rate = argument(first + 2),
    flow = argument(first + 3), seen_at = NOW - argument(first + 4),
  }
end

-- Weigh what an answer says of the bucket against our own accounting (the interval rule).
-- consumed_then: C when its call began. An answer is already old when it arrives: what others settled
-- since may be missing in it (the lower bound), what is in flight may be in it (the upper bound).
local function weigh(observation, consumed_then)
  local gain = gain_of(observation.rate, observation.flow)
  local capacity = CAPACITY_MINUTES * observation.rate
  local is_newest = not state.observed_at or observation.seen_at >= state.observed_at
  local lump_at = observation.seen_at + observation.refill_in
  local lumps = lumps_due(lump_at)
  lump_at = lump_at + lumps * MINUTE
  local lowest = after_lumps(observation.tokens, lumps, gain, capacity) - (state.consumed - consumed_then)
  local highest = after_lumps(
    observation.tokens + held_before(observation.seen_at), lumps, gain, capacity)

  if not state.balance then
    state.balance, state.lump_at, state.withheld = lowest, lump_at, 0
    state.late_gain, state.late_capacity = false, false
  elseif state.balance < lowest or state.balance > highest then
    local drift = lowest - state.balance
    if drift < 0 then
      events.spent = events.spent - drift
    else
      events.back = events.back + math.max(0, drift - state.withheld)
    end
    state.balance, state.lump_at, state.withheld = lowest, lump_at, 0
    state.late_gain, state.late_capacity = false, false
  else
    -- Half a minute tells a later phase from an earlier one: the same number of lumps, only later.
    local later = (lump_at - state.lump_at) % MINUTE
    if later < MINUTE / 2 then
      state.lump_at = state.lump_at + later
    elseif is_newest and lump_at > state.lump_at and state.refill_rate > 0 then
      -- Keepa's lump has come and ours is still due: under the plan of then, or of now, whichever
      -- brings less.
      state.late_gain = math.min(
        gain, state.late_gain or gain_of(state.refill_rate, state.flow))
      state.late_capacity = math.min(
        capacity, state.late_capacity or CAPACITY_MINUTES * state.refill_rate)
    end
  end
  if is_newest then
    state.refill_rate, state.flow = observation.rate, observation.flow
    state.observed_at = observation.seen_at
  end
end

local function reply(code, ...)
  save()
  return {
    code, whole(state.epoch), state.balance and 1 or 0, state.balance or 0, state.held,
    state.refill_rate, state.flow, state.lump_at and state.lump_at - NOW or MINUTE,
    state.observed_at and NOW - state.observed_at or 0, state.consumed,
    events.lost, events.spent, events.back, events.reaped, events.reaped_tokens, events.overrun, ...
  }
end

-- Microseconds until this epoch has learned of every gateway's live holds.
local function learning_left()
  return math.max(0, state.epoch + LEARNING - NOW)
end

-- What every transition does first, once it has read its arguments: nothing is written before.
local function begin()
  if not state.epoch or stored[1] ~= RUN_ID then
    begin_epoch()
  end
  fall_lumps()
  reap()
end
