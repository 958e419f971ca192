-- A gateway asks which of its waiting calls to try again.
--
-- ARGV[3] name of the gateway       ARGV[4] requests a minute, 0: no request rate, -1: auto
-- ARGV[5] slots of a full burst, likewise
-- Returns the shared reply, the microseconds until the next request slot (0: there is one), whether
-- the gateway was thought gone (1: its places may be, too), and the places of its calls that would
-- run now.

local gateway, rate, rate_burst = ARGV[3], argument(4), argument(5)
begin()
local per_minute, burst = rate_in_force(rate, rate_burst)
local slot = open_slots(per_minute, burst)

local last_seen = tonumber(redis.call('ZSCORE', GATEWAYS, gateway) or 0)
redis.call('ZADD', GATEWAYS, whole(NOW), gateway)
redis.call('ZREMRANGEBYSCORE', GATEWAYS, '-inf', whole(NOW - GATEWAY_LIFE))

local slots = free_slots(slot, burst)
local queue = serve_queue(slots)
local places = {}
for _, waiting in ipairs(queue.served) do
  if waiting.gateway == gateway then
    places[#places + 1] = waiting.place
  end
end
local slot_wait = 0
if slots < 1 then
  slot_wait = math.max(0, state.rate_full_at + slot - burst * slot - NOW)
end
return reply(DONE, slot_wait, last_seen <= NOW - GATEWAY_LIFE and 1 or 0, places)
