-- Tell the state of the account, for people and metrics.
--
-- Returns the shared reply, tokens used and requests admitted since the store was empty, the number
-- of live holds, and a flat list: service, used, denied, reserved, ...

begin()

local services, order = {}, {}
local function entry(name)
  if not services[name] then
    services[name] = { used = 0, denied = 0, reserved = 0 }
    order[#order + 1] = name
  end
  return services[name]
end

local tallies = redis.call('HGETALL', SERVICES)
for i = 1, #tallies, 2 do
  local name, what = string.match(tallies[i], '^(.*):(%a+)$')
  entry(name)[what] = tonumber(tallies[i + 1])
end
local live = 0
for _, record in ipairs(redis.call('HVALS', HOLDS)) do
  local cost, name = string.match(record, '^(%d+)|%d+|%d+|%d+|([^|]*)|')
  if cost then
    live = live + 1
    entry(name).reserved = entry(name).reserved + tonumber(cost)
  end
end
local list = {}
for _, name in ipairs(order) do
  local service = services[name]
  list[#list + 1] = name
  list[#list + 1] = service.used
  list[#list + 1] = service.denied
  list[#list + 1] = service.reserved
end
return reply(DONE, state.used, state.requests, live, list)
