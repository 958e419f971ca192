-- Ask for the turn to refresh the balance from /token: one gateway at a time gets it.
--
-- ARGV[3] us: an observation younger than this needs no refresh   ARGV[4] us that a turn lasts
-- Returns the shared reply (its epoch and C go with the observation) and the microseconds until this
-- epoch admits calls: DONE: the turn is taken; RESOLVED: nothing to do; UNKNOWN: another has the turn.

local fresh, turn = argument(3), argument(4)
begin()

if state.balance and NOW - state.observed_at < fresh then
  return reply(RESOLVED, learning_left())
end
if state.refresh_until > NOW then
  return reply(UNKNOWN, learning_left())
end
state.refresh_until = NOW + turn
return reply(DONE, learning_left())
