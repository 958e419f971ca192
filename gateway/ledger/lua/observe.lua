-- Weigh the answer of a /token call, which consumes nothing and holds nothing.
--
-- ARGV[3] epoch before it was sent  ARGV[4] C before it was sent
-- ARGV[5] tokensLeft                ARGV[6] refillIn, ms           ARGV[7] refillRate
-- ARGV[8] flow, millionths          ARGV[9] us since the answer's headers came
-- Returns the shared reply and the outlook of refresh.lua.

local epoch, consumed_then = argument(3), argument(4)
local observation = read_observation(5)
begin()

if epoch == state.epoch then
  weigh(observation, consumed_then)
  state.refresh_until = 0
  if state.doubtful + state.suspected == 0 then
    state.doubt_at = false
  end
end
return reply(DONE, outlook())
