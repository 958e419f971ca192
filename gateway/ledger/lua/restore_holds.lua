-- A gateway names its live holds: those that a new epoch lost are held again.
--
-- ARGV[3] how many; then for each, from ARGV[4] on:
--   id, cost, us since it began, us until it ends, epoch of its reserve, service, endpoint
-- A gateway names at most 200 at a time.
-- Returns the shared reply and how many were held again.
-- Only ids of an older epoch come back: one that is missing in its own epoch is resolved already.

local named = {}
for i = 1, argument(3) do
  local first = 4 + (i - 1) * 7
  named[i] = {
    id = ARGV[first], cost = argument(first + 1), age = argument(first + 2),
    left = argument(first + 3), epoch = argument(first + 4), service = ARGV[first + 5],
    endpoint = ARGV[first + 6],
  }
end

begin()
forget_markers(500)

local restored = 0
for _, hold in ipairs(named) do
  if hold.epoch ~= state.epoch and hold.left > 0 and not read_hold(hold.id) then
    write_hold(
      hold.id, hold.cost, NOW - hold.age, NOW + hold.left, hold.epoch, hold.service, hold.endpoint)
    restored = restored + 1
  end
end
return reply(DONE, restored)
