-- Tell the state of the account, for people and metrics.
--
-- ARGV[3] requests a minute, 0: no request rate, -1: auto        ARGV[4] slots of a full burst, likewise
-- Returns the shared reply, the request rate in force (requests a minute and slots of a full burst, 0
-- where there is none), tokens used and requests admitted since the store was empty, the number
-- of live holds, and for each service: {name, used, held, live, tokens of this hour, tokens of this
-- day, waiting calls, {reason, calls refused, ...}}.
-- Of very many waiting calls, those beyond the first 1 000 are told as of the service `other`.

local PLACES_AT_MOST = 1000

local rate, rate_burst = argument(3), argument(4)
begin()
local per_minute, burst = rate_in_force(rate, rate_burst)

local list, places = {}, {}
local function entry(name)
  if not places[name] then
    list[#list + 1] = { name, 0, 0, 0, 0, 0, 0, {} }
    places[name] = list[#list]
  end
  return places[name]
end

local live = 0
local fields = read_services()
for i = 1, #fields, 2 do
  local name, reason = string.match(fields[i], '^([^|]*)|(.*)$')
  if name then
    local refusals = entry(name)[8]
    refusals[#refusals + 1] = reason
    refusals[#refusals + 1] = tonumber(fields[i + 1])
  else
    local service = read_service(fields[i])
    local row = entry(fields[i])
    row[2], row[3], row[4] = service.used, service.held, service.live
    row[5], row[6] = in_windows(service)
    live = live + service.live
  end
end
for _, place in ipairs(redis.call('ZRANGE', QUEUE, 0, PLACES_AT_MOST - 1)) do
  local waiting = read_place(place)
  if is_present(waiting) then
    local row = entry(waiting.service)
    row[7] = row[7] + 1
  end
end
local others = redis.call('ZCARD', QUEUE) - PLACES_AT_MOST
if others > 0 then
  local row = entry('other')
  row[7] = row[7] + others
end
forget_markers(500)
return reply(DONE, per_minute, burst, state.used, state.requests, live, list)
