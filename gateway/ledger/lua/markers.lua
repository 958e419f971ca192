-- Markers of resolved ids (C8), apart from the holds: callers who hang up leave one each (C15).
-- include: keys, clock, units

-- A marker outlives every late copy of a transition that could still be under way.
local LIFE = 600 * units.MICRO

-- Forget those whose time is over.
local function forget(at_most)
  local due = redis.call(
    'ZRANGEBYSCORE', keys.markers, '-inf', units.whole(clock.now), 'LIMIT', 0, at_most)
  if #due > 0 then
    redis.call('ZREM', keys.markers, unpack(due))
  end
end

-- Remember that an id is resolved, where its absence alone could not say so: a late or resent
-- transition of a call that began in an older epoch, or whose reserve has not run yet. Each mark removes
-- more than one whose time is over.
local function mark(id)
  redis.call('ZADD', keys.markers, units.whole(clock.now + LIFE), id)
  forget(4)
end

return { mark = mark, forget = forget }
