-- A gateway names its live holds: those that a new epoch lost are held again (T8).
-- include: ledger, clock, argument, begin, holds, reply
-- include when needed: markers
--
-- ARGV[3] and on: for each "id|cost|us since it began|us until it ends|epoch of its reserve|service|endpoint"
-- A gateway names at most 200 at a time.
-- Returns the shared reply and how many were held again.
-- Only ids of an older epoch come back: one that is missing in its own epoch is resolved already.

local state = ledger.state

local function read(record)
  local number = argument.number
  local id, cost, age, left, epoch, service, endpoint = string.match(
    record, '^([^|]*)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not id then
    error('BADARG hold')
  end
  return id, number(left) > 0, {
    cost = number(cost), start = clock.now - number(age), expiry = clock.now + number(left),
    epoch = number(epoch), service = service, endpoint = endpoint,
  }
end

for i = 3, #ARGV do
  read(ARGV[i])
end
begin()
markers().forget(500)

local restored = 0
for i = 3, #ARGV do
  local id, is_alive, hold = read(ARGV[i])
  if is_alive and hold.epoch ~= state.epoch and not holds.read(id) then
    holds.write(id, hold)
    restored = restored + 1
  end
end
return reply.finish(reply.DONE, restored)
