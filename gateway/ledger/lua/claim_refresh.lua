-- Ask for the turn to refresh the balance from /token: one gateway at a time gets it.
--
-- ARGV[3] us: an observation younger than this needs no refresh, unless T is doubtful
-- ARGV[4] us that a turn lasts; 0: only tell whether one is needed
-- Returns the shared reply (its epoch and C go with the observation) and the outlook of refresh.lua.
-- DONE: the turn is taken; RESOLVED: nothing to do; UNKNOWN: another has the turn.

local fresh, turn = argument(3), argument(4)
begin()

local is_due = until_asked() == 0
if state.balance and NOW - state.observed_at < fresh and not is_due then
  return reply(RESOLVED, outlook())
end
if state.refresh_until > NOW then
  return reply(UNKNOWN, outlook())
end
if turn > 0 then
  state.refresh_until, state.asked_at = NOW + turn, NOW
end
return reply(DONE, outlook())
