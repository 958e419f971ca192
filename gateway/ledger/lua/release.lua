-- A call surely consumed nothing (never sent, or refused): drop its hold.
--
-- ARGV[3] id                        ARGV[4] epoch of its reserve, 0: not known
-- Returns the shared reply: DONE, or RESOLVED where there was nothing to drop.
-- A reserve of the same id that arrives later (its connection hung) finds a marker and holds nothing.

local id, epoch = ARGV[3], argument(4)
begin()

local hold = read_hold(id)
if hold and not hold.marker then
  drop_hold(id, hold)
end
if not hold or epoch ~= state.epoch then
  mark(id)
end
return reply(hold and not hold.marker and DONE or RESOLVED)
