-- Places of waiting calls: members of the queue, in the order in which they are served.
-- include: keys, clock, holds, units
--
-- "floor|arrival|end of its wait|cost|cap of live holds|gateway|service|id". The scores of those that can
-- be served are 0, so that Redis keeps them in the order of their text: the lowest floor first, then the
-- first come. A place counts while its wait lasts and its gateway asks for it: one that died leaves
-- nothing.
-- Who stands aside, because its service has as many calls in flight as it may, is in the same zset
-- behind all others, at a score of its service's: neither in the window that is looked at nor in
-- anybody's way (C14). It comes back to score 0 when its service has room.

-- A gateway that asks nothing for so long is gone, or its callers are.
local GATEWAY_LIFE = 3 * units.MICRO
-- Below the lowest floor there is, so that no number in a place has a sign.
local LOWEST_FLOOR = 10000000
local whole = units.whole

local function pack(place)
  return string.format(
    '%012d|%017d|%d|%d|%d|%s|%s|%s', place.floor + LOWEST_FLOOR, place.arrival, place.ends_at,
    place.cost, place.live_cap, place.gateway, place.service, place.id)
end

local function parse(text)
  local floor, arrival, ends_at, cost, live_cap, gateway, service, id = string.match(
    text, '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|(.*)$')
  if not floor then
    error('BADARG place')
  end
  return {
    text = text, floor = floor - LOWEST_FLOOR, arrival = arrival + 0,
    ends_at = ends_at + 0, cost = cost + 0, live_cap = live_cap + 0,
    gateway = gateway, service = service, id = id,
  }
end

-- When each gateway last asked.
local seen = {}

-- Note that a gateway asks. Returns whether it was thought gone.
local function see_gateway(name)
  local last = tonumber(redis.call('ZSCORE', keys.gateways, name) or 0)
  redis.call('ZADD', keys.gateways, whole(clock.now), name)
  redis.call('ZREMRANGEBYSCORE', keys.gateways, '-inf', whole(clock.now - GATEWAY_LIFE))
  return last <= clock.now - GATEWAY_LIFE
end

local function is_present(place)
  local gateway = place.gateway
  if not seen[gateway] then
    seen[gateway] = tonumber(redis.call('ZSCORE', keys.gateways, gateway) or 0)
  end
  return place.ends_at >= clock.now and seen[gateway] > clock.now - GATEWAY_LIFE
end

-- Whether its caller has gone: told by the marker of its id, where the place itself was not known.
local function has_left(place)
  return holds.is_marked(place.id) or redis.call('HGET', keys.holds, place.id) == 'resolved'
end

-- Where a service's places stand aside: a whole number above 0, the same for the same name.
local function aside_score(service)
  local score = 0
  for i = 1, #service do
    score = (score * 31 + string.byte(service, i)) % 1000000007
  end
  return 1 + score
end

local function join(text, gateway, score)
  redis.call('ZADD', keys.queue, score, text)
  redis.call('ZADD', keys.gateways, whole(clock.now), gateway)
  seen[gateway] = clock.now
end

return {
  pack = pack, parse = parse, see_gateway = see_gateway, is_present = is_present, has_left = has_left,
  aside_score = aside_score, join = join,
}
