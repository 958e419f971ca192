-- A call surely consumed nothing (T5: never sent, or refused): drop its hold, and its place in the queue.
-- include: ledger, argument, holds, queue, reply
-- include when needed: markers
--
-- ended    "id|epoch of its reserve, 0: not known|its place in the queue, empty: it has none"
-- Replies DONE, or RESOLVED where there was nothing to drop.
-- A reserve of the same id that arrives later (its connection hung) finds a marker and holds nothing (C8).

local function read(ended)
  local id, epoch, text = string.match(ended, '^([^|]*)|(%d+)|(.*)$')
  if not id then
    error('BADARG ended')
  end
  return { id = id, epoch = argument.number(epoch), place = text }
end

local function run(call)
  queue.leave(call.place)
  local hold = holds.read(call.id)
  local is_held = hold and not hold.marker
  if is_held then
    holds.drop(call.id, hold, 0)
  end
  if not hold or call.epoch ~= ledger.state.epoch then
    markers().mark(call.id)
  end
  return reply.report(is_held and reply.DONE or reply.RESOLVED)
end

return { read = read, run = run }
