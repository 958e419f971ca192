-- Weigh the answer of a /token call (T6), which consumes nothing and holds nothing.
-- include: ledger, argument, begin, observation, outlook, reply
--
-- ARGV[3] epoch before it was sent  ARGV[4] C before it was sent
-- ARGV[5] what it says, see observation.lua
-- Returns the shared reply and the outlook of outlook.lua.

local state = ledger.state
local epoch, consumed_then = argument.number(ARGV[3]), argument.number(ARGV[4])
local told = observation.parse(ARGV[5])
begin()

if epoch == state.epoch then
  observation.weigh(told, consumed_then)
  state.refresh_until = 0
  if state.doubtful + state.suspected == 0 then
    state.doubt_at = false
  end
end
return reply.finish(reply.DONE, outlook.tell())
