-- A gateway asks which of its waiting calls to try again.
-- include: keys, ledger, clock, argument, begin, notices, queue, reply, slots
-- include when needed: place
--
-- ARGV[3] name of the gateway       ARGV[4] requests a minute, 0: no request rate, -1: auto
-- ARGV[5] slots of a full burst, likewise
-- ARGV[6] one of its places, the longest known; empty: it has none
-- Returns the shared reply, the microseconds until the next request slot (0: there is one), whether
-- its places may be gone (1: it was thought gone, or the one that it names is not there), and the places
-- of its calls that would run now.

local gateway, mine = ARGV[3], ARGV[6]
local rate, rate_burst = argument.number(ARGV[4]), argument.number(ARGV[5])
local known = mine ~= '' and place().parse(mine)
begin()
local per_minute, burst = slots.in_force(rate, rate_burst)
local slot = slots.open(per_minute, burst)

local is_forgotten = place().see_gateway(gateway)
if not is_forgotten and known and not redis.call('ZSCORE', keys.queue, mine) then
  is_forgotten = true
  -- A place of this epoch whose wait lasts, and whose gateway asked: nobody but its own call removes it.
  if known.arrival >= ledger.state.epoch and known.ends_at > clock.now then
    notices.inconsistent('queue_lost')
  end
end

local free = slots.free(slot, burst)
local places = {}
for _, waiting in ipairs(queue.serve(free).calls) do
  if waiting.gateway == gateway then
    places[#places + 1] = waiting.text
  end
end
local slot_wait = free < 1 and slots.wait_for(slot, burst, 0) or 0
return reply.finish(reply.DONE, slot_wait, is_forgotten and 1 or 0, places)
