-- Ask for the turn to refresh the balance from /token: one gateway at a time gets it.
-- include: ledger, clock, argument, begin, outlook, reply
--
-- ARGV[3] us: an observation younger than this needs no refresh, unless T is doubtful
-- ARGV[4] us that a turn lasts; 0: only tell whether one is needed
-- Returns the shared reply (its epoch and C go with the observation) and the outlook of outlook.lua.
-- DONE: the turn is taken; RESOLVED: nothing to do; UNKNOWN: another has the turn.

local state = ledger.state
local fresh, turn = argument.number(ARGV[3]), argument.number(ARGV[4])
begin()

local is_due = outlook.until_asked() == 0
if state.balance and clock.now - state.observed_at < fresh and not is_due then
  return reply.finish(reply.RESOLVED, outlook.tell())
end
if state.refresh_until > clock.now then
  return reply.finish(reply.UNKNOWN, outlook.tell())
end
if turn > 0 then
  state.refresh_until, state.asked_at = clock.now + turn, clock.now
end
return reply.finish(reply.DONE, outlook.tell())
