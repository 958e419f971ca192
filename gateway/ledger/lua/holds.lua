-- The holds, and the sums and indexes that follow from them (S5, I2).
-- include: keys, ledger, clock, counters, notices, tallies, units
--
-- A hold's record is "cost|start|expiry|epoch|service|endpoint". "resolved" is a marker as gateways
-- before 0.2 left them, with an expiry, for its 600 s.

local state, whole = ledger.state, units.whole
-- Costs of the holds that this run has met, by id.
local costs = {}

local function pack(hold)
  return whole(hold.cost) .. '|' .. whole(hold.start) .. '|' .. whole(hold.expiry) .. '|'
    .. whole(hold.epoch) .. '|' .. hold.service .. '|' .. hold.endpoint
end

-- A hold of its record; a marker where it is none.
local function parse(record)
  local cost, start, expiry, epoch, service, endpoint = string.match(
    record, '^(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not cost then
    return { marker = true }
  end
  return {
    cost = cost + 0, start = start + 0, expiry = expiry + 0, epoch = epoch + 0, service = service, endpoint = endpoint,
  }
end

-- Whether a marker says that the id is resolved (C8).
local function is_marked(id)
  local until_ = redis.call('ZSCORE', keys.markers, id)
  return until_ and until_ + 0 > clock.now
end

-- The hold of that id, a marker, or nil.
local function read(id)
  local record = redis.call('HGET', keys.holds, id)
  if record then
    return parse(record)
  end
  return is_marked(id) and { marker = true } or nil
end

-- The costs of those holds, in their order; 0 for one that is gone.
local function costs_of(ids)
  local found, missing = {}, {}
  for i, id in ipairs(ids) do
    found[i] = costs[id]
    if not found[i] then
      missing[#missing + 1] = id
    end
  end
  if #missing > 0 then
    for i, record in ipairs(redis.call('HMGET', keys.holds, unpack(missing))) do
      costs[missing[i]] = record and tonumber(string.match(record, '^%d+')) or 0
    end
    for i, id in ipairs(ids) do
      found[i] = costs[id]
    end
  end
  return found
end

-- Write a new hold: cost, start, expiry, epoch, service and endpoint.
local function write(id, hold)
  local service = tallies.read(hold.service)
  hold.service = service.name
  redis.call('HSET', keys.holds, id, pack(hold))
  redis.call('ZADD', keys.expiries, whole(hold.expiry), id)
  costs[id] = hold.cost
  local is_clearing = state.recount_at == ledger.CLEARING
  -- While sums are being cleared it is counted with the others.
  if not is_clearing then
    redis.call('ZADD', keys.starts, whole(hold.start), id)
    state.held = state.held + hold.cost
    service.held, service.live = service.held + hold.cost, service.live + 1
  end
  if not is_clearing or not state.recount_windows then
    tallies.count_in_windows(service, hold.start, hold.cost)
    tallies.change(service)
  end
  -- One that comes back was counted in its own epoch, unless no store was there to do it.
  if hold.epoch == state.epoch or hold.epoch == 0 then
    counters.count_usage(service.name, hold.endpoint, 'calls', 1)
  end
end

-- A hold ends, and so many tokens are gone for it.
local function drop(id, hold, consumed)
  redis.call('HDEL', keys.holds, id)
  redis.call('ZREM', keys.expiries, id)
  local is_counted = redis.call('ZREM', keys.starts, id) == 1 and state.recount_at ~= ledger.CLEARING
  costs[id] = nil
  local service = tallies.read(hold.service)
  service.used = service.used + consumed
  if is_counted then
    state.held = state.held - hold.cost
    service.held, service.live = service.held - hold.cost, service.live - 1
    if state.held < 0 or service.held < 0 or service.live < 0 then
      notices.distrust_sums('sum_below_zero')
      state.held = math.max(0, state.held)
      service.held, service.live = math.max(0, service.held), math.max(0, service.live)
    end
  elseif not state.recount_at then
    notices.distrust_sums('starts_lost')
  end
  local is_in_windows = is_counted or not state.recount_windows
  tallies.count_in_windows(service, hold.start, consumed - (is_in_windows and hold.cost or 0))
  tallies.change(service)
  counters.count_usage(hold.service, hold.endpoint, 'tokens', consumed)
end

return {
  pack = pack, parse = parse, read = read, is_marked = is_marked, costs_of = costs_of, write = write, drop = drop,
}
