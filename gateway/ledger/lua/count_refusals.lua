-- Count calls that a gateway refused by itself, for /status and /usage.
--
-- ARGV[3] how many counts; then for each, from ARGV[4] on: service, endpoint, reason, calls
-- A gateway tells at most 200 at a time.
-- Returns the shared reply. Run twice it counts twice: these are figures for people.

local counts = {}
for i = 1, argument(3) do
  local first = 4 + (i - 1) * 4
  counts[i] = {
    service = ARGV[first], endpoint = ARGV[first + 1], reason = ARGV[first + 2],
    calls = argument(first + 3),
  }
end
begin()

for _, count in ipairs(counts) do
  count_refused(count.service, count.reason, count.calls)
  count_usage(count.service, count.endpoint, 'refusals', count.calls)
end
return reply(DONE)
