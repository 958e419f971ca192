-- Admit a call: hold its cost and take its request slot, both or nothing.
--
-- ARGV[3] id of the call            ARGV[4] cost, tokens           ARGV[5] floor, tokens
-- ARGV[6] life of the hold, us      ARGV[7] service                ARGV[8] endpoint
-- ARGV[9] us per request slot, 0: no request rate                  ARGV[10] slots of a full burst
-- ARGV[11] us after which an observation is too old to spend on
-- Returns the shared reply and the microseconds after which the call may be tried again, -1: never.
-- Safe to run twice: an id that is held is admitted again and takes nothing.

local id, service, endpoint = ARGV[3], ARGV[7], ARGV[8]
local cost, floor, life = argument(4), argument(5), argument(6)
local slot, burst, stale = argument(9), argument(10), argument(11)

begin()

local held = read_hold(id)
if held then
  -- A marker: the caller was given up and the id released before this late copy ran.
  return reply(held.marker and RESOLVED or DONE, 0)
end

-- When available reaches `needed`: by the next lump, or by whole ones after it.
local function until_it_fits(needed)
  local gain = gain_of(state.refill_rate, state.flow)
  local capacity = CAPACITY_MINUTES * state.refill_rate
  if gain == 0 or needed > capacity then
    return -1
  end
  local target = math.min(needed + state.held, capacity)
  local more = math.max(0, math.ceil((target - after_next_lump()) / gain))
  local wait = state.lump_at - NOW + more * MINUTE
  -- Where the holds keep the full bucket too small, enough of them have to end first.
  local excess = needed + state.held - capacity
  if excess > 0 then
    local ends = redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', '+inf', 'WITHSCORES')
    for i = 1, #ends, 2 do
      local hold = read_hold(ends[i])
      excess = excess - (hold and hold.cost or 0)
      if excess <= 0 then
        return math.max(wait, tonumber(ends[i + 1]) - NOW)
      end
    end
  end
  return wait
end

-- A full bucket of `burst` slots that refills one slot each `slot` microseconds.
local slot_wait = 0
if slot > 0 then
  slot_wait = math.max(0, math.max(state.rate_full_at, NOW) + slot - burst * slot - NOW)
end

if cost > 0 then
  if not state.balance or NOW - state.observed_at > stale then
    return reply(UNKNOWN, 0)
  end
  if learning_left() > 0 then
    return reply(UNKNOWN, learning_left())
  end
  -- Keepa runs nothing from 0 down, so a negative floor still needs something available.
  local available = state.balance - state.held
  if available - cost < floor or available <= 0 then
    tally(service, 'denied', 1)
    local needed = math.max(cost + floor, 1)
    local wait = until_it_fits(needed)
    local too_dear = needed > CAPACITY_MINUTES * state.refill_rate
    return reply(too_dear and CAPACITY or FLOOR, wait < 0 and wait or math.max(wait, slot_wait))
  end
end
if slot_wait > 0 then
  tally(service, 'denied', 1)
  return reply(RATE, slot_wait)
end

if slot > 0 then
  state.rate_full_at = math.max(state.rate_full_at, NOW) + slot
end
state.requests = state.requests + 1
write_hold(id, cost, NOW, NOW + life, state.epoch, service, endpoint)
return reply(DONE, 0)
