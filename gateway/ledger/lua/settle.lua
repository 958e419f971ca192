-- A call ended, and what it consumed is known or assumed: drop its hold, count its tokens as spent,
-- weigh its observation if it brought one.
--
-- ARGV[3] id                        ARGV[4] tokens consumed        ARGV[5] tokens reserved
-- ARGV[6] service                   ARGV[7] epoch of its reserve   ARGV[8] C at its reserve
-- ARGV[9] 1: an observation follows, 0: none
-- ARGV[10] tokensLeft               ARGV[11] refillIn, ms          ARGV[12] refillRate
-- ARGV[13] flow, millionths         ARGV[14] us since the answer's headers came
-- Returns the shared reply: DONE, or RESOLVED where the id was resolved before (nothing is charged twice).

local id, service = ARGV[3], ARGV[6]
local consumed, reserved = argument(4), argument(5)
local epoch, consumed_then = argument(7), argument(8)
local observation = argument(9) == 1 and read_observation(10)

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
