-- A call surely consumed nothing (never sent, or refused): drop its hold, and its place in the queue.
--
-- given[3] id                        given[4] epoch of its reserve, 0: not known
-- given[5] its place in the queue, empty: it has none
-- Returns the shared reply: DONE, or RESOLVED where there was nothing to drop.
-- A reserve of the same id that arrives later (its connection hung) finds a marker and holds nothing.

local function release()
  local id, epoch, place = given[3], argument(4), given[5]

  return function()
    if place ~= '' then
      redis.call('ZREM', QUEUE, place)
    end
    local hold = read_hold(id)
    if hold and not hold.marker then
      drop_hold(id, hold, 0)
    end
    if not hold or epoch ~= state.epoch then
      mark(id)
    end
    return report(hold and not hold.marker and DONE or RESOLVED)
  end
end
