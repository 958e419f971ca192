-- Whose turn it is, where anybody waits: who of the queue runs, waits, stands aside (C14) or is gone.
-- include: keys, ledger, lumps, room, units
-- include when needed: place

-- So many are looked at: no script may keep Redis for long (C15).
local LOOK_AT_MOST = 100
-- Of services that stand aside. The next ones are looked at when one of these has room or is gone.
local ASIDE_SERVICES_AT_MOST = 64
local state = ledger.state

-- Have those of a service come back for whom it has room, and forget those of gateways that are gone.
local function recall_service(score, has_room, at_most)
  local texts = redis.call('ZRANGEBYSCORE', keys.queue, score, score, 'LIMIT', 0, at_most)
  for _, text in ipairs(texts) do
    if not place().is_present(place().parse(text)) then
      redis.call('ZREM', keys.queue, text)
    elseif has_room > 0 then
      redis.call('ZADD', keys.queue, 0, text)
      has_room = has_room - 1
    end
  end
  return #texts
end

-- Have those come back whose service has room again.
local function recall(served)
  local in_window = {}
  for _, text in ipairs(redis.call('ZRANGEBYSCORE', keys.queue, 0, 0, 'LIMIT', 0, LOOK_AT_MOST)) do
    local name = place().parse(text).service
    in_window[name] = (in_window[name] or 0) + 1
  end
  local score, left = '0', LOOK_AT_MOST
  for _ = 1, ASIDE_SERVICES_AT_MOST do
    local found = redis.call(
      'ZRANGEBYSCORE', keys.queue, '(' .. score, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not found[1] or left <= 0 then
      return
    end
    score = units.whole(tonumber(found[2]))
    local first = place().parse(found[1])
    -- Beside those in the window, which may lack tokens that a cheaper call does not: a newcomer would
    -- pass it too, and must find who came before. Half of the window is left to other services.
    local has_room = (in_window[first.service] or 0) < LOOK_AT_MOST / 2
      and first.live_cap - room.live_of(served, first.service) or 0
    if has_room > 0 or not place().is_present(first) then
      left = left - recall_service(score, has_room, left)
    end
  end
end

-- What the first who lacks tokens waits for.
local function wait_for_lump(served, waiting)
  local spoken_for = (state.balance or 0) - served.available
  local target = math.max(waiting.cost + waiting.floor, 1) + spoken_for
  local count = lumps.until_there(target)
  if count then
    served.first = { target = target, lumps = count }
  end
end

local function run_in_thought(served, waiting)
  served.available = served.available - waiting.cost
  served.slots = served.slots - 1
  served.calls[#served.calls + 1] = waiting
  served.by_service[waiting.service] = (served.by_service[waiting.service] or 0) + 1
  if served.first then
    served.first.target = served.first.target + waiting.cost
  end
end

-- One of the queue runs, waits, stands aside or is gone.
local function consider(served, waiting)
  local is_aside = waiting.live_cap > 0 and room.live_of(served, waiting.service) >= waiting.live_cap
  local is_served = not is_aside and room.may_run(served, waiting.cost, waiting.floor)
  local is_first = not is_aside and not is_served and not served.first and waiting.cost > 0
  if not place().is_present(waiting) or (is_served or is_first) and place().has_left(waiting) then
    redis.call('ZREM', keys.queue, waiting.text)
    return
  elseif is_aside then
    redis.call('ZADD', keys.queue, place().aside_score(waiting.service), waiting.text)
    return
  end
  served.tokens_ahead = served.tokens_ahead + waiting.cost
  served.calls_ahead = served.calls_ahead + 1
  if is_served then
    run_in_thought(served, waiting)
  elseif is_first then
    wait_for_lump(served, waiting)
  end
end

local function serve(served, floor, arrival)
  served.calls, served.by_service = {}, {}
  if redis.call('ZCOUNT', keys.queue, '(0', '+inf') > 0 then
    recall(served)
  end
  local texts = redis.call('ZRANGEBYSCORE', keys.queue, 0, 0, 'LIMIT', 0, LOOK_AT_MOST)
  for _, text in ipairs(texts) do
    local waiting = place().parse(text)
    if floor and (waiting.floor > floor or waiting.floor == floor and waiting.arrival >= arrival) then
      return
    end
    consider(served, waiting)
  end
  -- There may be more of them: what is left is for those, if all that were looked at run. If one lacks
  -- tokens, the others pass it without delay to it, whether they have come before or after.
  served.is_longer = floor ~= nil and #texts == LOOK_AT_MOST and served.calls_ahead > 0
    and #served.calls == served.calls_ahead
end

return { serve = serve }
