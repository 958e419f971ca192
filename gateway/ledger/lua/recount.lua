-- Count the sums and indexes anew from the holds they follow from (held, held and live of each service,
-- expiries, starts): in each new epoch, and where they were found wrong (C16). So many holds a script,
-- that as a rule it is done within one, and none keeps Redis for more than some milliseconds (C15).
-- include: keys, ledger, clock, holds, tallies, units
-- include when needed: markers

-- Members of each index that one script clears, and holds that one script counts.
local CLEAR_AT_MOST, COUNT_AT_MOST = 1000, 200

return function()
  local state, whole = ledger.state, units.whole

  local function clear_sums()
    for _, index in ipairs({ keys.starts, keys.expiries }) do
      redis.call('ZREMRANGEBYRANK', index, 0, CLEAR_AT_MOST - 1)
    end
    if redis.call('ZCARD', keys.starts) + redis.call('ZCARD', keys.expiries) > 0 then
      return
    end
    state.held = 0
    local fields = tallies.read_fields()
    for i = 1, #fields, 2 do
      if not string.find(fields[i], '|', 1, true) then
        local service = tallies.read(fields[i])
        service.held, service.live = 0, 0
        tallies.change(service)
      end
    end
    state.recount_at = ledger.COUNTING
  end

  local function count_hold(id, hold)
    if hold.start > clock.now then
      -- Its life begins now: the clock was set back.
      hold.start, hold.expiry = clock.now, clock.now + hold.expiry - hold.start
      redis.call('HSET', keys.holds, id, holds.pack(hold))
    end
    redis.call('ZADD', keys.expiries, whole(hold.expiry), id)
    -- A scan may return the same hold twice.
    if redis.call('ZADD', keys.starts, 'NX', whole(hold.start), id) == 0 then
      return
    end
    local service = tallies.read(hold.service)
    state.held = state.held + hold.cost
    service.held, service.live = service.held + hold.cost, service.live + 1
    if state.recount_windows then
      tallies.count_in_windows(service, hold.start, hold.cost)
    end
    tallies.change(service)
  end

  local function count_holds()
    local cursor, found = unpack(redis.call(
      'HSCAN', keys.holds, whole(state.recount_at - ledger.COUNTING), 'COUNT', COUNT_AT_MOST))
    for i = 1, #found, 2 do
      local id, hold = found[i], holds.parse(found[i + 1])
      if hold.marker then
        redis.call('HDEL', keys.holds, id)
        markers().mark(id)
      else
        count_hold(id, hold)
      end
    end
    if tonumber(cursor) > 0 then
      state.recount_at = ledger.COUNTING + tonumber(cursor)
    elseif redis.call('ZCARD', keys.starts) < redis.call('HLEN', keys.holds) then
      state.recount_at = ledger.COUNTING
    else
      state.recount_at, state.recount_windows = false, false
    end
  end

  if state.recount_at == ledger.CLEARING then
    clear_sums()
  end
  if state.recount_at and state.recount_at >= ledger.COUNTING then
    count_holds()
  end
end
