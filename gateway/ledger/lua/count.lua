-- Count calls that a gateway refused by itself, for /status.
--
-- ARGV[3] how many counts; then for each, from ARGV[4] on: service, reason, calls
-- Returns the shared reply. Run twice it counts twice: these are figures for people.

local counts = {}
for i = 1, argument(3) do
  local first = 4 + (i - 1) * 3
  counts[i] = { field = ARGV[first] .. '|' .. ARGV[first + 1], calls = argument(first + 2) }
end
begin()

for _, count in ipairs(counts) do
  redis.call('HINCRBY', SERVICES, count.field, whole(count.calls))
end
return reply(DONE)
