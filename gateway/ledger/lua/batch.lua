-- Run transitions in one go, in their order, each as if it ran by itself: only that for all of them
-- the ledger is read once, lumps fall once, holds are reaped once, and what changed is written once.
-- include: begin, release, reply, reserve, settle
--
-- ARGV[3] and on: for each its name and its arguments, see reserve.lua, settle.lua, release.lua
-- A gateway runs at most 16 at a time, see TOGETHER in redis/command.py.
-- Returns their replies, in their order.
-- All read their arguments before the first one runs: a bad one stops all, and nothing was written.

local runs, calls, n, at = {}, {}, 0, 3
while ARGV[at] do
  local name = ARGV[at]
  n = n + 1
  if name == 'reserve' then
    runs[n], calls[n] = reserve.run, reserve.read(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    at = at + 4
  elseif name == 'settle' then
    runs[n], calls[n] = settle.run, settle.read(ARGV[at + 1], ARGV[at + 2])
    at = at + 3
  elseif name == 'release' then
    runs[n], calls[n] = release.run, release.read(ARGV[at + 1])
    at = at + 2
  else
    error('BADARG transition')
  end
end

begin()
local replies = {}
for i = 1, n do
  replies[i] = runs[i](calls[i])
end
reply.save()
return replies
