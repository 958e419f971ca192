-- A call ended, and what it consumed is known or assumed: drop its hold, count its tokens as spent,
-- weigh its observation if it brought one.
--
-- ARGV[3] id                        ARGV[4] tokens consumed        ARGV[5] tokens reserved
-- ARGV[6] service                   ARGV[7] endpoint
-- ARGV[8] epoch of its reserve, 0: none, no store was there        ARGV[9] C at its reserve
-- ARGV[10] 1: an observation follows, 0: none
-- ARGV[11] tokensLeft               ARGV[12] refillIn, ms          ARGV[13] refillRate
-- ARGV[14] flow, millionths         ARGV[15] us since the answer's headers came
-- Returns the shared reply: DONE, or RESOLVED where the id was resolved before (nothing is charged twice).

local id, service, endpoint = ARGV[3], ARGV[6], ARGV[7]
local consumed, reserved = argument(4), argument(5)
local epoch, consumed_then = argument(8), argument(9)
local observation = argument(10) == 1 and read_observation(11)

begin()

local hold = read_hold(id)
local same_epoch = epoch == state.epoch
-- Missing in its own epoch: settled or reaped already. Missing in a later one: its hold did not come
-- back, and what it consumed is still gone.
local resolved = hold and hold.marker or not hold and same_epoch
if not resolved then
  if hold then
    drop_hold(id, hold, consumed)
  else
    local tallies = read_service(service)
    tallies.used = tallies.used + consumed
    count_in_windows(tallies, NOW, consumed)
    write_service(service, tallies)
    count_usage(service, endpoint, 'tokens', consumed)
    count_usage(service, endpoint, 'calls', epoch == 0 and 1 or 0)
  end
  if not same_epoch then
    mark(id)
  end
  spend(consumed)
  events.overrun = math.max(0, consumed - reserved)
end
if observation and same_epoch then
  weigh(observation, consumed_then)
end
if not resolved then
  state.consumed = state.consumed + consumed
end
return reply(resolved and RESOLVED or DONE)
