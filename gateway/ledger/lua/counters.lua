-- Counters by names that come from callers: added up in a run, written once at its end, and bounded.
-- What is new to a hash that is full counts as of the service `other`.
-- include: keys

-- Tallies and refusals of 50 made-up names for each of some gateways; 52 services at 14 endpoints have
-- no more usage in an hour.
local FIELDS_AT_MOST = 2200
-- 35 days of usage are kept, and the one that an hour of them began in.
local USAGE_SECONDS = 36 * 86400

local usage, refusals = {}, {}

-- Count tokens, calls or refusals of this hour, or (of no service) tokens lost.
local function count_usage(service, endpoint, what, count)
  if count ~= 0 then
    local field = service .. '|' .. endpoint .. '|' .. what
    usage[field] = (usage[field] or 0) + count
  end
end

-- Count calls of a service that were refused.
local function count_refused(service, endpoint, reason, calls)
  local field = service .. '|' .. reason
  refusals[field] = (refusals[field] or 0) + calls
  count_usage(service, endpoint, 'refusals', calls)
end

-- Returns whether the field is new.
local function write(key, field, count)
  -- A field that was there holds more than it was given now.
  if redis.call('HINCRBY', key, field, count) ~= count then
    return false
  end
  local service, rest = string.match(field, '^([^|]*)(|.*)$')
  if service ~= '' and service ~= 'other' and redis.call('HLEN', key) > FIELDS_AT_MOST then
    redis.call('HDEL', key, field)
    redis.call('HINCRBY', key, 'other' .. rest, count)
  end
  return true
end

local function save()
  for field, count in pairs(refusals) do
    write(keys.services, field, count)
  end
  for field, count in pairs(usage) do
    if write(keys.usage, field, count) then
      redis.call('EXPIRE', keys.usage, USAGE_SECONDS)
    end
  end
end

return {
  FIELDS_AT_MOST = FIELDS_AT_MOST, count_usage = count_usage, count_refused = count_refused, save = save,
}
