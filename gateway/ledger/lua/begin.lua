-- What every transition does first: is it a new epoch, can the sums be trusted, what is due?
-- This text stands behind the shared steps.
--
-- Sums and indexes (held, held and live of each service, expiries, starts) follow from the holds. They
-- are counted anew in each new epoch, and where they were found wrong: some 200 holds a script, so that
-- as a rule it is done within one, and none keeps Redis for more than some milliseconds.

-- Members of each index that one script clears, and holds that one script counts.
local CLEAR_AT_MOST, COUNT_AT_MOST = 1000, 200

-- The fields of the services, flat; all of them, unless they were more than their bound long before.
local function read_services()
  return redis.call('HSCAN', SERVICES, 0, 'COUNT', 2 * SERVICE_FIELDS)[2]
end

-- Where the services are lost, the holds tell at least their own part of the windows.
local function recount_windows()
  state.recount_windows = redis.call('HLEN', SERVICES) == 0 and 1 or false
end

local function clear_sums()
  for _, index in ipairs({ STARTS, EXPIRIES }) do
    redis.call('ZREMRANGEBYRANK', index, 0, CLEAR_AT_MOST - 1)
  end
  if redis.call('ZCARD', STARTS) + redis.call('ZCARD', EXPIRIES) > 0 then
    return
  end
  state.held = 0
  local fields = read_services()
  for i = 1, #fields, 2 do
    if not string.find(fields[i], '|', 1, true) then
      local service = read_service(fields[i])
      service.held, service.live = 0, 0
      write_service(service)
    end
  end
  state.recount_at = COUNTING
end

-- Begin the life of a hold now that is in the future: the clock was set back.
local function renew_hold(id, hold)
  hold.start, hold.expiry = NOW, NOW + hold.expiry - hold.start
  redis.call('HSET', HOLDS, id, string.format(
    '%.0f|%.0f|%.0f|%.0f|%s|%s', hold.cost, hold.start, hold.expiry, hold.epoch, hold.service,
    hold.endpoint))
end

local function count_hold(id, hold, services)
  if hold.start > NOW then
    renew_hold(id, hold)
  end
  redis.call('ZADD', EXPIRIES, whole(hold.expiry), id)
  -- The scan may tell of it twice.
  if redis.call('ZADD', STARTS, 'NX', whole(hold.start), id) == 0 then
    return
  end
  local service = services[hold.service] or read_service(hold.service)
  services[hold.service] = service
  state.held = state.held + hold.cost
  service.held, service.live = service.held + hold.cost, service.live + 1
  if state.recount_windows then
    count_in_windows(service, hold.start, hold.cost)
  end
end

local function count_holds()
  local cursor, found = unpack(
    redis.call('HSCAN', HOLDS, whole(state.recount_at - COUNTING), 'COUNT', COUNT_AT_MOST))
  local services = {}
  for i = 1, #found, 2 do
    local id, hold = found[i], parse_hold(found[i + 1])
    if hold.marker then
      redis.call('HDEL', HOLDS, id)
      mark(id)
    else
      count_hold(id, hold, services)
    end
  end
  for _, service in pairs(services) do
    write_service(service)
  end
  if tonumber(cursor) > 0 then
    state.recount_at = COUNTING + tonumber(cursor)
  elseif redis.call('ZCARD', STARTS) < redis.call('HLEN', HOLDS) then
    state.recount_at = COUNTING
  else
    state.recount_at, state.recount_windows = false, false
  end
end

local function recount()
  if state.recount_at == CLEARING then
    clear_sums()
  end
  if state.recount_at and state.recount_at >= COUNTING then
    count_holds()
  end
end

-- Look whether all keys are there, at the price of four counts. Returns whether holds are lost: only
-- a new epoch has the gateways bring them back. All else can be told from the holds.
local function check_keys()
  local holds, expiries = redis.call('HLEN', HOLDS), redis.call('ZCARD', EXPIRIES)
  if not state.epoch and holds > 0 then
    notice_inconsistent('ledger_lost')
  elseif holds < expiries then
    notice_inconsistent('holds_lost')
    return true
  elseif holds > expiries then
    distrust_sums('expiries_lost')
  elseif state.held > 0 and redis.call('ZCARD', STARTS) == 0 then
    distrust_sums('starts_lost')
  elseif holds > 0 and redis.call('HLEN', SERVICES) == 0 then
    distrust_sums('services_lost')
    recount_windows()
  end
  return false
end

-- The store was found empty, restarted or failed over, or its clock was set back, or holds are lost:
-- what it says of the balance may be old, the holds it has are kept, and the others come back by keep.
local function begin_epoch()
  -- Where time stands still, too, each has a name of its own.
  local last = state.epoch or 0
  state.epoch = last >= NOW and last < NOW + 1000 and last + 1 or NOW
  state.balance, state.lump_at, state.observed_at = false, false, false
  state.consumed, state.consumed_since_lump, state.withheld = 0, 0, 0
  state.late_gain, state.late_capacity = false, false
  state.doubtful, state.suspected, state.doubt_at, state.asked_at = 0, 0, false, 0
  state.refresh_until = 0
  state.recount_at = CLEARING
  recount_windows()
end

-- Moments that were stored by a clock since set back would be in the future for as long. A debt of
-- request slots stays what it was; gateways that live ask again at once. Holds are renewed when they
-- are counted, windows when they are read.
local function fall_back()
  state.clock = NOW
  state.rate_full_at = math.max(0, state.rate_full_at - CLOCK_BEHIND)
  redis.call('ZREMRANGEBYSCORE', GATEWAYS, '(' .. whole(NOW), '+inf')
  if not is_new_life then
    notice_inconsistent('clock_set_back')
  end
end

-- Nothing is written before a transition has read its arguments.
local function begin()
  local is_lost = not state.recount_at and check_keys()
  if HAS_FALLEN then
    fall_back()
  elseif NOW - state.clock >= CLOCK_GRAIN then
    state.clock = NOW
  end
  if is_new_life or HAS_FALLEN or is_lost then
    begin_epoch()
  end
  recount()
  fall_lumps()
  -- Those whose holds are known to be lost are still being cleared.
  local is_counting = state.recount_at
  if reap() and not is_counting then
    notice_inconsistent('holds_lost')
    begin_epoch()
    recount()
  end
end
