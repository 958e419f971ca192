-- Count calls that a gateway refused by itself, for /status and /usage.
-- include: argument, begin, counters, reply
--
-- ARGV[3] and on, for each count: service, endpoint, reason, calls
-- A gateway tells at most 200 at a time.
-- Returns the shared reply. Run twice it counts twice: these are figures for people.

for at = 3, #ARGV, 4 do
  argument.number(ARGV[at + 3])
end
begin()

for at = 3, #ARGV, 4 do
  counters.count_refused(ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]))
end
return reply.finish(reply.DONE)
