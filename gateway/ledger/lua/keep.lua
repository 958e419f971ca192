-- A gateway names its live holds: those that a new epoch lost are held again.
--
-- ARGV[3] how many; then for each, from ARGV[4] on:
--   id, cost, us since it began, us until it ends, epoch of its reserve, service, endpoint
-- Returns the shared reply and how many were held again.
-- Only ids of an older epoch come back: one that is missing in its own epoch is resolved already.

local count, restored = argument(3), 0
for i = 0, count - 1 do
  local first = 4 + i * 7
  local id, service, endpoint = ARGV[first], ARGV[first + 5], ARGV[first + 6]
  local cost, age, left = argument(first + 1), argument(first + 2), argument(first + 3)
  local epoch = argument(first + 4)
  if epoch ~= state.epoch and left > 0 and not read_hold(id) then
    write_hold(id, cost, NOW - age, NOW + left, epoch, service, endpoint)
    restored = restored + 1
  end
end
return reply(DONE, restored)
