-- What every transition does first: is it a new epoch, can the sums be trusted, what is due?
-- include: keys, ledger, clock, lumps, notices, reap
-- include when needed: epoch, recount

local state = ledger.state

-- Look whether all keys are there, at the price of four counts (C16). Returns whether holds are lost:
-- only a new epoch has the gateways bring them back. All else can be told from the holds.
local function check_keys()
  local held, expiring = redis.call('HLEN', keys.holds), redis.call('ZCARD', keys.expiries)
  if not state.epoch and held > 0 then
    notices.inconsistent('ledger_lost')
  elseif held < expiring then
    notices.inconsistent('holds_lost')
    return true
  elseif held > expiring then
    notices.distrust_sums('expiries_lost')
  elseif state.held > 0 and redis.call('ZCARD', keys.starts) == 0 then
    notices.distrust_sums('starts_lost')
  elseif held > 0 and redis.call('HLEN', keys.services) == 0 then
    notices.distrust_sums('services_lost')
    epoch().recount_windows()
  end
  return false
end

-- Nothing is written before a transition has read its arguments.
return function()
  local is_lost = not state.recount_at and check_keys()
  if clock.has_fallen then
    epoch().fall_back()
  end
  clock.note()
  if ledger.is_new_life or clock.has_fallen or is_lost then
    epoch().begin()
  end
  local is_counting = state.recount_at
  if is_counting then
    recount()()
    -- Those whose holds are known to be lost are still being cleared.
    is_counting = state.recount_at
  end
  lumps.fall()
  if reap() and not is_counting then
    notices.inconsistent('holds_lost')
    epoch().begin()
    recount()()
  end
end
