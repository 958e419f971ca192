-- A call ended, and what it consumed is known or assumed: drop its hold, count its tokens as spent,
-- weigh its observation if it brought one.
--
-- given[3] id                        given[4] tokens consumed        given[5] tokens reserved
-- given[6] service                   given[7] endpoint
-- given[8] epoch of its reserve, 0: none, no store was there        given[9] C at its reserve
-- given[10] 1: an observation follows, 0: none
-- given[11] tokensLeft               given[12] refillIn, ms          given[13] refillRate
-- given[14] flow, millionths         given[15] us since the answer's headers came
-- Returns the shared reply: DONE, or RESOLVED where the id was resolved before (nothing is charged twice).

local function settle()
  local id, service, endpoint = given[3], given[6], given[7]
  local consumed, reserved = argument(4), argument(5)
  local epoch, consumed_then = argument(8), argument(9)
  local observation = argument(10) == 1 and read_observation(11)

  return function()
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
        write_service(tallies)
        count_usage(service, endpoint, 'tokens', consumed)
        count_usage(service, endpoint, 'calls', epoch == 0 and 1 or 0)
      end
      spend(consumed)
      if not same_epoch then
        mark(id)
        if consumed > 0 then
          -- What was observed in this epoch may be without it already.
          doubt(consumed)
        end
      end
      events.overrun = math.max(0, consumed - reserved)
    end
    if observation and same_epoch then
      weigh(observation, consumed_then)
    end
    if not resolved then
      state.consumed = state.consumed + consumed
    end
    return report(resolved and RESOLVED or DONE)
  end
end
