-- Reap (T2): a hold that nobody resolved in time counts as spent; the next observation corrects it where
-- Keepa never charged it.
-- include: keys, ledger, clock, balance, holds, notices, units
-- include when needed: doubt, markers

-- At most so many by one script, so that none keeps Redis long. Those beyond are held still (C15).
local AT_MOST = 200
local state = ledger.state

-- Returns whether an expiry was found whose hold is lost.
return function()
  local due = redis.call(
    'ZRANGEBYSCORE', keys.expiries, '-inf', units.whole(clock.now), 'LIMIT', 0, AT_MOST)
  local is_lost = false
  for _, id in ipairs(due) do
    local record = redis.call('HGET', keys.holds, id)
    local hold = record and holds.parse(record)
    if not hold or hold.marker then
      redis.call('HDEL', keys.holds, id)
      redis.call('ZREM', keys.expiries, id)
      is_lost = is_lost or not hold
    else
      holds.drop(id, hold, hold.cost)
      balance.spend(hold.cost)
      state.consumed = state.consumed + hold.cost
      if hold.cost > 0 then
        doubt().doubt(hold.cost)
        notices.add('reaped', 1)
        notices.add('reaped_tokens', hold.cost)
      end
      if hold.epoch ~= state.epoch then
        markers().mark(id)
      end
    end
  end
  return is_lost
end
