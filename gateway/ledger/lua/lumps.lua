-- Keepa's lumps (T1): what each surely brings, when the next is due, how many it takes.
-- include: ledger, clock, counters, notices, units

local MICRO, MINUTE = units.MICRO, units.MINUTE
local CAPACITY_MINUTES = 60
local state = ledger.state

-- What each lump surely brings. Keepa rounds; rounding down can only be too careful.
local function gain_of(rate, flow)
  return math.floor(math.max(0, rate * MICRO - flow) / MICRO)
end

-- What a bucket holds at most.
local function capacity_of(rate)
  return CAPACITY_MINUTES * rate
end

-- tokens after so many lumps into a bucket of that capacity; a lump never lowers a balance.
local function after(tokens, lumps, gain, capacity)
  return math.max(tokens, math.min(tokens + lumps * gain, capacity))
end

-- How many lumps of a schedule with one at `at` have come by now.
local function due(at)
  if at > clock.now then
    return 0
  end
  return math.floor((clock.now - at) / MINUTE) + 1
end

-- The balance after the next lump. What was settled since our last one may have been spent after the
-- true lump came, and overflowed the bucket: it leaves no room (C1).
local function after_next()
  local gain = state.late_gain or gain_of(state.refill_rate, state.flow)
  local capacity = state.late_capacity or capacity_of(state.refill_rate)
  return after(state.balance, 1, gain, capacity - state.consumed_since_lump)
end

-- How many lumps after the next bring the bucket to so many tokens; nil: nobody knows, or they never do.
local function until_there(tokens)
  local gain = gain_of(state.refill_rate, state.flow)
  if gain == 0 or not state.balance then
    return nil
  end
  return math.max(0, math.ceil((tokens - after_next()) / gain))
end

-- What the first lump due leaves out to be careful (withheld) is no drift when an observation brings
-- it back.
local function fall()
  local count = state.balance and due(state.lump_at) or 0
  if count == 0 then
    return
  end
  local gain, capacity = gain_of(state.refill_rate, state.flow), capacity_of(state.refill_rate)
  local hoped = state.balance + state.withheld
  local ideal = after(hoped, count, gain, capacity)
  local balance = after(after_next(), count - 1, gain, capacity)
  local lost = math.max(0, count * gain - (ideal - hoped))
  notices.add('lost', lost)
  counters.count_usage('', '', 'lost', lost)
  state.withheld = math.max(0, ideal - balance)
  state.balance, state.consumed_since_lump = balance, 0
  state.late_gain, state.late_capacity = false, false
  state.lump_at = state.lump_at + count * MINUTE
end

return {
  gain_of = gain_of, capacity_of = capacity_of, after = after, due = due, until_there = until_there,
  fall = fall,
}
