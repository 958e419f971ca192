-- A service's tallies (S5): each read once in a run, and written once.
-- include: keys, clock, counters, notices, units
--
-- "used|held|live|hour|hour's tokens|day|day's tokens". used: tokens since the store was empty; held and
-- live: tokens and number of its holds; hour and day: the clock windows (UTC, counted from 1970) that the
-- tokens beside them belong to. A hold counts in the windows that it began in, with its cost until it is
-- resolved, then with what it consumed: so a window that is over owes nothing to the next.
-- Names come from callers, and what they can fill is bounded: who is new where there are too many
-- counts as of the service `other`.

local HOUR, DAY = units.HOUR, units.DAY
local known = {}

local function parse(name, record)
  local used, held, live, hour, hour_tokens, day, day_tokens = string.match(
    record or '', '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  if not used then
    return {
      name = name, used = 0, held = 0, live = 0, hour = 0, hour_tokens = 0, day = 0, day_tokens = 0,
      is_new = true,
    }
  end
  return {
    name = name, used = used + 0, held = held + 0, live = live + 0,
    -- Of a clock that was set back, the windows that were in the future are today's and this hour's.
    hour = math.min(hour + 0, clock.hour), hour_tokens = hour_tokens + 0,
    day = math.min(day + 0, clock.day), day_tokens = day_tokens + 0,
  }
end

local function write(service)
  redis.call('HSET', keys.services, service.name, string.format(
    '%d|%d|%d|%d|%d|%d|%d', service.used, service.held, service.live, service.hour,
    service.hour_tokens, service.day, service.day_tokens))
  service.is_changed, service.is_new = false, false
end

local function read(name)
  local service = known[name]
  if service then
    return service
  end
  local record = redis.call('HGET', keys.services, name)
  local is_full = not record and name ~= 'other'
    and redis.call('HLEN', keys.services) >= counters.FIELDS_AT_MOST
  service = is_full and read('other') or parse(name, record)
  known[name] = service
  return service
end

-- Have a change written at the end; a new name is written at once, for its place to be taken.
local function change(service)
  service.is_changed = true
  if service.is_new then
    write(service)
  end
end

local function save()
  for _, service in pairs(known) do
    if service.is_changed then
      write(service)
    end
  end
end

-- The fields of the services, flat; all of them, unless they were more than their bound long before.
local function read_fields()
  return redis.call('HSCAN', keys.services, 0, 'COUNT', 2 * counters.FIELDS_AT_MOST)[2]
end

-- What a window holds with so many tokens more, or fewer.
local function add_to_window(tokens, more)
  if tokens + more < 0 then
    notices.inconsistent('window_below_zero')
    return 0
  end
  return tokens + more
end

-- Add tokens, fewer than none too, to the windows of that moment, unless later ones have begun.
local function count_in_windows(service, moment, tokens)
  moment = math.min(moment, clock.now)
  local hour, day = math.floor(moment / HOUR), math.floor(moment / DAY)
  if hour > service.hour then
    service.hour, service.hour_tokens = hour, 0
  end
  if hour == service.hour then
    service.hour_tokens = add_to_window(service.hour_tokens, tokens)
  end
  if day > service.day then
    service.day, service.day_tokens = day, 0
  end
  if day == service.day then
    service.day_tokens = add_to_window(service.day_tokens, tokens)
  end
end

-- Tokens in this hour's and today's windows.
local function in_windows(service)
  return service.hour == clock.hour and service.hour_tokens or 0,
    service.day == clock.day and service.day_tokens or 0
end

return {
  read = read, change = change, save = save, read_fields = read_fields,
  count_in_windows = count_in_windows, in_windows = in_windows,
}
