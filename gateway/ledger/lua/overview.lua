-- Tell the state of the account, for people and metrics.
-- include: keys, ledger, argument, begin, reply, slots, tallies
-- include when needed: markers, place
--
-- ARGV[3] requests a minute, 0: no request rate, -1: auto        ARGV[4] slots of a full burst, likewise
-- Returns the shared reply, the request rate in force (requests a minute and slots of a full burst, 0
-- where there is none), tokens used and requests admitted since the store was empty, the number
-- of live holds, and for each service: {name, used, held, live, tokens of this hour, tokens of this
-- day, waiting calls, {reason, calls refused, ...}}.
-- Of very many waiting calls, those beyond the first 1 000 are told as of the service `other`.

local PLACES_AT_MOST = 1000

local state = ledger.state
local rate, rate_burst = argument.number(ARGV[3]), argument.number(ARGV[4])
begin()
local per_minute, burst = slots.in_force(rate, rate_burst)

local list, rows = {}, {}
local function row_of(name)
  if not rows[name] then
    list[#list + 1] = { name, 0, 0, 0, 0, 0, 0, {} }
    rows[name] = list[#list]
  end
  return rows[name]
end

local live = 0
local fields = tallies.read_fields()
for i = 1, #fields, 2 do
  local name, reason = string.match(fields[i], '^([^|]*)|(.*)$')
  if name then
    local refusals = row_of(name)[8]
    refusals[#refusals + 1] = reason
    refusals[#refusals + 1] = tonumber(fields[i + 1])
  else
    local service, row = tallies.read(fields[i]), row_of(fields[i])
    row[2], row[3], row[4] = service.used, service.held, service.live
    row[5], row[6] = tallies.in_windows(service)
    live = live + service.live
  end
end
for _, text in ipairs(redis.call('ZRANGE', keys.queue, 0, PLACES_AT_MOST - 1)) do
  local waiting = place().parse(text)
  if place().is_present(waiting) then
    local row = row_of(waiting.service)
    row[7] = row[7] + 1
  end
end
local others = redis.call('ZCARD', keys.queue) - PLACES_AT_MOST
if others > 0 then
  local row = row_of('other')
  row[7] = row[7] + others
end
markers().forget(500)
return reply.finish(reply.DONE, per_minute, burst, state.used, state.requests, live, list)
