-- The queue served in thought: who of those that wait runs next, and what they leave to others.
-- include: keys, ledger, clock
-- include when needed: place, turns

local NOBODY = {}
local state = ledger.state

-- Who comes in one go comes one after the other all the same.
local latest_arrival = clock.now - 1
local function arrive()
  latest_arrival = latest_arrival + 1
  return latest_arrival
end

local is_empty
-- Whether nobody waits: nearly always.
local function is_queue_empty()
  if is_empty == nil then
    is_empty = redis.call('ZCARD', keys.queue) == 0
  end
  return is_empty
end

-- Take that place, or another position in the queue.
local function join(text, gateway, score)
  place().join(text, gateway, score)
  is_empty = false
end

-- Give a place up; empty: none.
local function leave(text)
  if text ~= '' then
    redis.call('ZREM', keys.queue, text)
  end
end

-- Serve everybody who stands before `floor` and `arrival` (all, without them), as long as there are tokens
-- and slots. What comes after may run on the rest only.
--
-- A call may pass one that has too few tokens yet, but not the first such one's lump: what that one
-- will need then is left to it. So nobody is passed for ever: the first is not delayed at all, and
-- every other one becomes the first when those before it have run, left, or waited long enough.
local function serve(slots, floor, arrival)
  local served = {
    available = (state.balance or 0) - state.held, slots = slots, calls = NOBODY, by_service = NOBODY,
    tokens_ahead = 0, calls_ahead = 0, is_longer = false,
  }
  if not is_queue_empty() then
    turns().serve(served, floor, arrival)
  end
  return served
end

return { arrive = arrive, join = join, leave = leave, serve = serve }
