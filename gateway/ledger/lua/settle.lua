-- A call ended, and what it consumed is known or assumed (T4): drop its hold, count its tokens as spent,
-- weigh its observation if it brought one.
-- include: ledger, clock, argument, balance, counters, holds, notices, observation, reply, tallies
-- include when needed: doubt, markers
--
-- ended    "id|tokens consumed|tokens reserved|epoch of its reserve, 0: none, no store was there|C at its
--          reserve|service|endpoint"
-- told     its observation, see observation.lua; empty: none
-- Replies DONE, or RESOLVED where the id was resolved before (nothing is charged twice, I4).

local state = ledger.state

local function read(ended, told)
  local number = argument.number
  local id, consumed, reserved, epoch, consumed_then, service, endpoint = string.match(
    ended, '^([^|]*)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not id then
    error('BADARG ended')
  end
  return {
    id = id, consumed = number(consumed), reserved = number(reserved), epoch = number(epoch),
    consumed_then = number(consumed_then), service = service, endpoint = endpoint,
    observation = told ~= '' and observation.parse(told),
  }
end

-- The tokens of a call whose hold did not come back are gone all the same.
local function charge_without_hold(call)
  local service = tallies.read(call.service)
  service.used = service.used + call.consumed
  tallies.count_in_windows(service, clock.now, call.consumed)
  tallies.change(service)
  counters.count_usage(call.service, call.endpoint, 'tokens', call.consumed)
  counters.count_usage(call.service, call.endpoint, 'calls', call.epoch == 0 and 1 or 0)
end

local function charge(call, hold, is_same_epoch)
  local consumed = call.consumed
  if hold then
    holds.drop(call.id, hold, consumed)
  else
    charge_without_hold(call)
  end
  balance.spend(consumed)
  if not is_same_epoch then
    markers().mark(call.id)
    if consumed > 0 then
      -- What was observed in this epoch may be without it already.
      doubt().doubt(consumed)
    end
  end
  notices.add('overrun', math.max(0, consumed - call.reserved))
end

local function run(call)
  local hold = holds.read(call.id)
  local is_same_epoch = call.epoch == state.epoch
  -- Missing in its own epoch: settled or reaped already. Missing in a later one: its hold did not come
  -- back, and what it consumed is still gone.
  local is_resolved = hold and hold.marker or not hold and is_same_epoch
  if not is_resolved then
    charge(call, hold, is_same_epoch)
  end
  if call.observation and is_same_epoch then
    observation.weigh(call.observation, call.consumed_then)
  end
  -- Its own consumption is in its answer (C4).
  if not is_resolved then
    state.consumed = state.consumed + call.consumed
  end
  return reply.report(is_resolved and reply.RESOLVED or reply.DONE)
end

return { read = read, run = run }
