-- The queue: calls that wait for tokens or for a request slot, in the order in which they are served.
-- This text stands between the shared steps and the transitions that know of the queue.
--
-- A member of the zset is a place, "floor|arrival|end of its wait|cost|cap of live holds|gateway|service|
-- id"; all scores are 0, so that Redis keeps them in the order of their text: the lowest floor first,
-- then the first come. A place counts while its wait lasts and its gateway asks for it: one that died
-- leaves nothing.
-- Who stands aside, because its service has as many calls in flight as it may, is in the same zset
-- behind all others, at a score of its service's: neither in the window that is looked at nor in
-- anybody's way. It comes back to score 0 when its service has room.

-- A gateway that asks nothing for so long is gone, or its callers are.
local GATEWAY_LIFE = 3 * MICRO
-- So many of the queue are looked at: no script may keep Redis for long.
local LOOK_AT_MOST = 100
-- Of services that stand aside. The next ones are looked at when one of these has room or is gone.
local ASIDE_SERVICES_AT_MOST = 64
-- Below the lowest floor there is, so that no number in a place has a sign.
local LOWEST_FLOOR = 10000000

-- Who comes in one go comes one after the other all the same.
local latest_arrival = NOW - 1
local function arrive()
  latest_arrival = latest_arrival + 1
  return latest_arrival
end

local function make_place(arrival, floor, ends_at, cost, live_cap, gateway, service, id)
  return string.format(
    '%012.0f|%017.0f|%.0f|%.0f|%.0f|%s|%s|%s',
    floor + LOWEST_FLOOR, arrival, ends_at, cost, live_cap, gateway, service, id)
end

local function read_place(place)
  local floor, arrival, ends_at, cost, live_cap, gateway, service, id = string.match(
    place, '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|(.*)$')
  return {
    place = place, floor = tonumber(floor) - LOWEST_FLOOR, arrival = tonumber(arrival),
    ends_at = tonumber(ends_at), cost = tonumber(cost), live_cap = tonumber(live_cap),
    gateway = gateway, service = service, id = id,
  }
end

local seen = {}
local function is_present(waiting)
  local gateway = waiting.gateway
  if seen[gateway] == nil then
    seen[gateway] = tonumber(redis.call('ZSCORE', GATEWAYS, gateway) or 0)
  end
  return waiting.ends_at >= NOW and seen[gateway] > NOW - GATEWAY_LIFE
end

-- Whether its caller has gone: told by the marker of its id, where the place itself was not known.
local function has_left(waiting)
  return is_marked(waiting.id) or redis.call('HGET', HOLDS, waiting.id) == 'resolved'
end

-- Where a service's places stand aside: a whole number above 0, the same for the same name.
local function aside_score(service)
  local score = 0
  for i = 1, #service do
    score = (score * 31 + string.byte(service, i)) % 1000000007
  end
  return 1 + score
end

local function join(place, gateway, score)
  redis.call('ZADD', QUEUE, score, place)
  redis.call('ZADD', GATEWAYS, whole(NOW), gateway)
  seen[gateway] = NOW
end

-- How many lumps after the next bring the bucket to so many tokens; nil: nobody knows, or they never do.
local function lumps_until(tokens)
  local gain = gain_of(state.refill_rate, state.flow)
  if gain == 0 or not state.balance then
    return nil
  end
  return math.max(0, math.ceil((tokens - after_next_lump()) / gain))
end

-- Whether so many tokens allow a call. Keepa runs nothing from 0 down, so a negative floor still needs
-- something available.
local function fits(available, cost, floor)
  return cost == 0 or available - cost >= floor and available > 0
end

-- Serve the queue in thought: everybody who stands before `floor` and `arrival` (all, without them), as
-- long as there are tokens and slots. What comes after may run on the rest only.
--
-- A call may pass one that has too few tokens yet, but not the first such one's lump: what that one
-- will need then is left to it. So nobody is passed for ever: the first is not delayed at all, and
-- every other one becomes the first when those before it have run, left, or waited long enough.
local function serve_queue(slots, floor, arrival)
  local queue = {
    available = (state.balance or 0) - state.held, slots = slots, served = {}, tokens_ahead = 0,
    calls_ahead = 0,
  }
  local live = {}

  -- How many calls of a service are in flight, those served in thought included.
  function queue.live_of(name)
    if not live[name] then
      live[name] = read_service(name).live
    end
    return live[name]
  end

  function queue.may_run(cost, call_floor)
    if queue.slots < 1 or queue.is_longer and (cost > 0 or queue.slots < math.huge) then
      return false
    end
    if not fits(queue.available, cost, call_floor) then
      return false
    end
    local first = queue.first
    if cost == 0 or not first then
      return true
    end
    -- A full bucket holds no more than its capacity: what passes near that makes it too small.
    local target = first.target + cost
    return target <= CAPACITY_MINUTES * state.refill_rate and lumps_until(target) <= first.lumps
  end

  local function wait_for_lump(waiting)
    local spoken_for = (state.balance or 0) - queue.available
    local target = math.max(waiting.cost + waiting.floor, 1) + spoken_for
    local lumps = lumps_until(target)
    if lumps then
      queue.first = { target = target, lumps = lumps }
    end
  end

  -- Have those come back whose service has room again, and forget those of gateways that are gone.
  local function recall()
    local in_queue = {}
    for _, place in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, 0, 0, 'LIMIT', 0, LOOK_AT_MOST)) do
      local name = read_place(place).service
      in_queue[name] = (in_queue[name] or 0) + 1
    end
    local score, left = 0, LOOK_AT_MOST
    for _ = 1, ASIDE_SERVICES_AT_MOST do
      local found = redis.call(
        'ZRANGEBYSCORE', QUEUE, '(' .. whole(score), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if not found[1] or left <= 0 then
        return
      end
      score = tonumber(found[2])
      local first = read_place(found[1])
      -- Beside those in the queue, which may lack tokens that a cheaper call does not: a newcomer would
      -- pass it too, and must find who came before. Half of the window is left to other services.
      local room = (in_queue[first.service] or 0) < LOOK_AT_MOST / 2
        and first.live_cap - queue.live_of(first.service) or 0
      if room > 0 or not is_present(first) then
        for _, place in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, score, score, 'LIMIT', 0, left)) do
          left = left - 1
          if not is_present(read_place(place)) then
            redis.call('ZREM', QUEUE, place)
          elseif room > 0 then
            redis.call('ZADD', QUEUE, 0, place)
            room = room - 1
          end
        end
      end
    end
  end

  if redis.call('ZCOUNT', QUEUE, '(0', '+inf') > 0 then
    recall()
  end
  local places = redis.call('ZRANGEBYSCORE', QUEUE, 0, 0, 'LIMIT', 0, LOOK_AT_MOST)
  for i = 1, #places do
    local place = places[i]
    local waiting = read_place(place)
    if floor and (waiting.floor > floor or waiting.floor == floor and waiting.arrival >= arrival) then
      return queue
    end
    local is_aside = waiting.live_cap > 0 and queue.live_of(waiting.service) >= waiting.live_cap
    local is_served = not is_aside and queue.may_run(waiting.cost, waiting.floor)
    local is_first = not is_aside and not is_served and not queue.first and waiting.cost > 0
    if not is_present(waiting) or (is_served or is_first) and has_left(waiting) then
      redis.call('ZREM', QUEUE, place)
    elseif is_aside then
      redis.call('ZADD', QUEUE, aside_score(waiting.service), place)
    else
      queue.tokens_ahead = queue.tokens_ahead + waiting.cost
      queue.calls_ahead = queue.calls_ahead + 1
      if is_served then
        queue.available = queue.available - waiting.cost
        queue.slots = queue.slots - 1
        queue.served[#queue.served + 1] = waiting
        live[waiting.service] = queue.live_of(waiting.service) + 1
        if queue.first then
          queue.first.target = queue.first.target + waiting.cost
        end
      elseif is_first then
        wait_for_lump(waiting)
      end
    end
  end
  -- There may be more of them: what is left is for those, if all that were looked at run. If one lacks
  -- tokens, the others pass it without delay to it, whether they have come before or after.
  queue.is_longer = floor ~= nil and #places == LOOK_AT_MOST and queue.calls_ahead > 0
    and #queue.served == queue.calls_ahead
  return queue
end

-- The request rate in force: requests a minute and slots of a full burst, each 0 where there is none.
-- -1 is auto: the plan's refill rate, at least that of the smallest plan, and ten minutes' worth of it.
local AUTO, LEAST_PER_MINUTE, BURST_MINUTES = -1, 20, 10
local function rate_in_force(per_minute, burst)
  if per_minute == AUTO then
    per_minute = math.max(LEAST_PER_MINUTE, state.refill_rate)
  end
  if burst == AUTO then
    burst = BURST_MINUTES * per_minute
  end
  if per_minute == 0 or burst == 0 then
    return 0, 0
  end
  return per_minute, burst
end

-- Microseconds for each slot of that rate; 0: there is none. The bucket of slots is kept as the moment
-- when it is full, at the rate of who last took one. Here that moment becomes the one at this rate: the
-- slots taken are the same. It is clamped, too: whatever was stored (a larger burst, a clock that was
-- set back since) the bucket is empty at worst, and owes nothing.
local function open_slots(per_minute, burst)
  if per_minute == 0 then
    return 0
  end
  local slot = math.floor(MINUTE / per_minute)
  local lack = state.rate_full_at - NOW
  if lack > 0 then
    if state.rate_slot > 0 and state.rate_slot ~= slot then
      lack = math.ceil(lack / state.rate_slot * slot)
    end
    state.rate_full_at, state.rate_slot = NOW + math.min(lack, burst * slot), slot
  end
  return slot
end

-- How many requests the rate allows now.
local function free_slots(slot, burst)
  if slot == 0 then
    return math.huge
  end
  return math.floor((burst * slot - math.max(0, state.rate_full_at - NOW)) / slot)
end

-- One request is made: of an empty bucket it takes nothing.
local function take_slot(slot, burst)
  if slot > 0 then
    local full_at = math.max(state.rate_full_at, NOW) + slot
    state.rate_full_at, state.rate_slot = math.min(full_at, NOW + burst * slot), slot
  end
end
