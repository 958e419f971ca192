-- Request slots (C13): the rate of requests that all callers share, with a burst.
-- include: ledger, clock, units

-- -1 is auto: the plan's refill rate, at least that of the smallest plan, and ten minutes' worth of it.
local AUTO, LEAST_PER_MINUTE, BURST_MINUTES = -1, 20, 10
local MINUTE, state = units.MINUTE, ledger.state

-- The rate in force: requests a minute and slots of a full burst, each 0 where there is none.
local function in_force(per_minute, burst)
  if per_minute == AUTO then
    per_minute = math.max(LEAST_PER_MINUTE, state.refill_rate)
  end
  if burst == AUTO then
    burst = BURST_MINUTES * per_minute
  end
  if per_minute == 0 or burst == 0 then
    return 0, 0
  end
  return per_minute, burst
end

-- Microseconds for each slot of that rate; 0: there is none. The bucket of slots is kept as the moment
-- when it is full, at the rate of who last took one. Here that moment becomes the one at this rate: the
-- slots taken are the same. It is clamped, too: whatever was stored (a larger burst, a clock that was
-- set back since) the bucket is empty at worst, and owes nothing.
local function open(per_minute, burst)
  if per_minute == 0 then
    return 0
  end
  local slot = math.floor(MINUTE / per_minute)
  local lack = state.rate_full_at - clock.now
  if lack > 0 then
    if state.rate_slot > 0 and state.rate_slot ~= slot then
      lack = math.ceil(lack / state.rate_slot * slot)
    end
    state.rate_full_at, state.rate_slot = clock.now + math.min(lack, burst * slot), slot
  end
  return slot
end

-- How many requests the rate allows now.
local function free(slot, burst)
  if slot == 0 then
    return math.huge
  end
  return math.floor((burst * slot - math.max(0, state.rate_full_at - clock.now)) / slot)
end

-- Microseconds until there is a slot behind so many others.
local function wait_for(slot, burst, others)
  if slot == 0 then
    return 0
  end
  local full_at = math.max(state.rate_full_at, clock.now) + (others + 1) * slot
  return math.max(0, full_at - burst * slot - clock.now)
end

-- One request is made: of an empty bucket it takes nothing.
local function take(slot, burst)
  if slot > 0 then
    local full_at = math.max(state.rate_full_at, clock.now) + slot
    state.rate_full_at, state.rate_slot = math.min(full_at, clock.now + burst * slot), slot
  end
end

return { in_force = in_force, open = open, free = free, wait_for = wait_for, take = take }
