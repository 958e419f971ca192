-- A new epoch (T9).
-- include: keys, ledger, clock, notices, units

local state = ledger.state

-- Where the services are lost, the holds tell at least their own part of the windows.
local function recount_windows()
  state.recount_windows = redis.call('HLEN', keys.services) == 0 and 1 or false
end

-- The store was found empty, restarted or failed over, or its clock was set back, or holds are lost:
-- what it says of the balance may be old, the holds it has are kept, and the others come back by
-- restore_holds.
local function begin()
  -- Where time stands still, too, each has a name of its own.
  local last = state.epoch or 0
  state.epoch = last >= clock.now and last < clock.now + 1000 and last + 1 or clock.now
  state.balance, state.lump_at, state.observed_at = false, false, false
  state.consumed, state.consumed_since_lump, state.withheld = 0, 0, 0
  state.late_gain, state.late_capacity = false, false
  state.doubtful, state.suspected, state.doubt_at, state.asked_at = 0, 0, false, 0
  state.refresh_until = 0
  state.recount_at = ledger.CLEARING
  recount_windows()
end

-- Moments that were stored by a clock since set back would be in the future for as long (C11). A debt of
-- request slots stays what it was; gateways that live ask again at once. Holds are renewed when they
-- are counted, windows when they are read.
local function fall_back()
  state.rate_full_at = math.max(0, state.rate_full_at - clock.behind)
  redis.call('ZREMRANGEBYSCORE', keys.gateways, '(' .. units.whole(clock.now), '+inf')
  if not ledger.is_new_life then
    notices.inconsistent('clock_set_back')
  end
end

return { begin = begin, fall_back = fall_back, recount_windows = recount_windows }
