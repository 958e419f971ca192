-- Run transitions in one go, in their order, each as if it ran by itself: only that for all of them
-- the ledger is read once, lumps fall once, holds are reaped once, and what changed is written once.
--
-- ARGV[3] how many; then for each, from ARGV[4] on: its name, how many arguments, its arguments
-- A gateway runs at most 16 at a time, see link.py.
-- Returns their replies, in their order.
-- All read their arguments before the first one runs: a bad one stops all, and nothing was written.

local TRANSITIONS = { reserve = reserve, settle = settle, release = release }

local runs, at = {}, 4
for i = 1, argument(3) do
  local name, last = ARGV[at], at + 1 + argument(at + 1)
  given = { '', '', unpack(ARGV, at + 2, last) }
  runs[i] = TRANSITIONS[name]()
  given = ARGV
  at = last + 1
end

begin()
local replies = {}
for i, run in ipairs(runs) do
  replies[i] = run()
end
save()
return replies
