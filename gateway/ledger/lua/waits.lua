-- How long a refused call has to wait for its tokens.
-- include: keys, ledger, clock, holds, lumps, units

local NEVER = math.huge
-- So many expiries are read.
local ENDS_AT_MOST = 200
local MINUTE, state = units.MINUTE, ledger.state

-- Until the holds that keep a full bucket too small by so many tokens have ended.
local function until_freed(excess)
  local ends = redis.call(
    'ZRANGEBYSCORE', keys.expiries, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, ENDS_AT_MOST)
  local ids = {}
  for i = 1, #ends, 2 do
    ids[#ids + 1] = ends[i]
  end
  for i, cost in ipairs(holds.costs_of(ids)) do
    excess = excess - cost
    if excess <= 0 then
      return tonumber(ends[2 * i]) - clock.now
    end
  end
  -- More of them: when the last one has ended, that is long enough.
  local last = redis.call('ZREVRANGE', keys.expiries, 0, 0, 'WITHSCORES')
  return tonumber(last[2] or 0) - clock.now
end

-- When available reaches what the call needs and the `ahead` tokens of those who wait before: by the next
-- lump, or by whole ones after it.
local function until_it_fits(call, ahead)
  local count = lumps.until_there(math.min(call.needed + state.held, call.capacity) + ahead)
  if not count or call.is_too_dear then
    return NEVER
  end
  local wait = state.lump_at - clock.now + count * MINUTE
  local excess = call.needed + state.held - call.capacity
  return excess > 0 and math.max(wait, until_freed(excess)) or wait
end

return { until_it_fits = until_it_fits }
