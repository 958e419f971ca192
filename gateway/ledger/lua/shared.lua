-- Steps that every transition shares. This text is put in front of each transition's own file.
--
-- KEYS[1] ledger    hash: the balance and everything that is one per account
-- KEYS[2] holds     hash: id -> "cost|start|expiry|epoch|service|endpoint", or "resolved" (a marker, see mark)
-- KEYS[3] expiries  zset: id -> when the hold (or the marker) ends, microseconds
-- KEYS[4] starts    zset: id -> when the hold began, microseconds
-- KEYS[5] services  hash: "<service>" -> "used|held|live|hour|hour's tokens|day|day's tokens", see
--                   read_service; "<service>|<reason>" -> calls refused
-- KEYS[6] line      zset: places of waiting calls, see waiting.lua
-- KEYS[7] gateways  zset: name -> when it last asked for its waiting calls, microseconds
-- KEYS[8] usage     hash of one clock hour: "<service>|<endpoint>|<tokens, calls or refusals>" -> how
--                   many; "||lost" -> tokens lost to a full bucket
-- ARGV[1] run id of the Redis server that this connection talks to
-- ARGV[2] learning time, microseconds: how long a new epoch admits nothing
-- ARGV[3] and on: the transition's own; where several run in one go (many.lua), each finds its own in
-- `given`, from given[3] on
--
-- Times are microseconds of Redis' own clock, tokens whole numbers, flows millionths of a token.
-- A reply is {code, epoch, known, balance, held, rate, flow, microseconds to the next lump,
-- microseconds since the newest observation, consumed, lost, spent by others, given back, reaped
-- holds, reaped tokens, overrun, doubtful tokens, when T became doubtful (0: it is not), then the
-- transition's own}.

local LEDGER, HOLDS, EXPIRIES, STARTS, SERVICES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LINE, GATEWAYS, USAGE = KEYS[6], KEYS[7], KEYS[8]
local RUN_ID, LEARNING = ARGV[1], tonumber(ARGV[2])

-- Codes of the first element of a reply; the same as Code in replies.py.
local DONE, UNKNOWN, FLOOR, CAPACITY, RATE, RESOLVED = 0, 1, 2, 3, 4, 5
local SERVICE_FLOOR, QUOTA, CONCURRENCY = 6, 7, 8

local MICRO = 1000000
local MINUTE, HOUR, DAY = 60 * MICRO, 3600 * MICRO, 86400 * MICRO
local CAPACITY_MINUTES = 60
-- A marker outlives every late copy of a transition that could still be under way.
local MARKER_LIFE = 600 * MICRO
-- A doubt that /token has not ended by then is as good as sure, for who asks how many tokens there are.
local UNSURE = 10 * MICRO
-- At most so many holds are reaped by one script, so that none blocks Redis for long.
local REAP_AT_MOST = 500
-- 35 days are kept, and the one that an hour of them began in.
local USAGE_SECONDS = 36 * 86400
-- 52 services at 14 endpoints have no more. What is new to an hour that is so full counts as of the
-- service `other`: names come from callers, and what they can fill is bounded.
local USAGE_FIELDS = 2200

local function whole(number)
  return string.format('%.0f', number)
end

local given = ARGV

-- A number of `given`, or an error before anything was written.
local function argument(index)
  local number = tonumber(given[index])
  if number == nil or number ~= math.floor(number) then
    error('BADARG argument ' .. index .. ' is no whole number')
  end
  return number
end

local clock = redis.call('TIME')
local NOW = tonumber(clock[1]) * MICRO + tonumber(clock[2])

-- Count in the hour's usage, where there is anything to count.
local function count_usage(service, endpoint, what, count)
  if count == 0 then
    return
  end
  local field = service .. '|' .. endpoint .. '|' .. what
  -- A field that was there holds more than it was given now.
  if redis.call('HINCRBY', USAGE, field, count) ~= count then
    return
  end
  redis.call('EXPIRE', USAGE, USAGE_SECONDS)
  if service ~= '' and redis.call('HLEN', USAGE) > USAGE_FIELDS then
    redis.call('HDEL', USAGE, field)
    redis.call('HINCRBY', USAGE, 'other|' .. endpoint .. '|' .. what, count)
  end
end

-- The ledger hash. balance is T, consumed C, consumed_since_lump S of the accounting rule. withheld is
-- what the last lump may have brought beyond T, see fall_lumps. doubtful is what T may lack besides,
-- because calls of our own were counted as spent to be careful, suspected what it may lack because
-- somebody else was thought to have spent it; doubt_at is when T last became doubtful, false where it
-- is not; asked_at is when /token was last asked, see refresh.lua. balance, lump_at and
-- observed_at are false while unknown. late_gain and late_capacity are the plan that our next lump fell under at
-- Keepa, see weigh; false: today's.
local stored = redis.call(
  'HMGET', LEDGER, 'run_id', 'epoch', 'balance', 'lump_at', 'refill_rate', 'flow', 'observed_at',
  'consumed', 'consumed_since_lump', 'withheld', 'late_gain', 'late_capacity', 'held',
  'rate_full_at', 'refresh_until', 'used', 'requests', 'doubtful', 'suspected', 'doubt_at',
  'asked_at')
local values = {
  epoch = tonumber(stored[2]) or false, balance = tonumber(stored[3]) or false,
  lump_at = tonumber(stored[4]) or false, refill_rate = tonumber(stored[5]) or 0,
  flow = tonumber(stored[6]) or 0, observed_at = tonumber(stored[7]) or false,
  consumed = tonumber(stored[8]) or 0, consumed_since_lump = tonumber(stored[9]) or 0,
  withheld = tonumber(stored[10]) or 0, late_gain = tonumber(stored[11]) or false,
  late_capacity = tonumber(stored[12]) or false, held = tonumber(stored[13]) or 0,
  rate_full_at = tonumber(stored[14]) or 0, refresh_until = tonumber(stored[15]) or 0,
  used = tonumber(stored[16]) or 0, requests = tonumber(stored[17]) or 0,
  doubtful = tonumber(stored[18]) or 0, suspected = tonumber(stored[19]) or 0,
  doubt_at = tonumber(stored[20]) or false, asked_at = tonumber(stored[21]) or 0,
}
-- What a transition changes is noted as it does, so that what it leaves alone costs nothing.
local changed = {}
local state = setmetatable({}, {
  __index = values,
  __newindex = function(_, field, value)
    if values[field] ~= value then
      values[field] = value
      changed[field] = value
    end
  end,
})

local events
local function forget_events()
  events = { lost = 0, spent = 0, back = 0, reaped = 0, reaped_tokens = 0, overrun = 0 }
end
forget_events()

local function save()
  local flat = {}
  for field, value in pairs(changed) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value and whole(value) or ''
  end
  if stored[1] ~= RUN_ID then
    flat[#flat + 1] = 'run_id'
    flat[#flat + 1] = RUN_ID
  end
  if #flat > 0 then
    redis.call('HSET', LEDGER, unpack(flat))
  end
end

local function read_hold(id)
  local record = redis.call('HGET', HOLDS, id)
  if not record then
    return nil
  end
  local cost, start, expiry, epoch, service, endpoint = string.match(
    record, '^(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not cost then
    return { marker = true }
  end
  return {
    cost = tonumber(cost), start = tonumber(start), expiry = tonumber(expiry),
    epoch = tonumber(epoch), service = service, endpoint = endpoint,
  }
end

-- A service's tallies. used: tokens since the store was empty; held and live: tokens and number of its
-- holds; hour and day: the clock windows (UTC, counted from 1970) that the tokens beside them belong
-- to. A hold counts in the windows that it began in, with its cost until it is resolved, then with
-- what it consumed: so a window that is over owes nothing to the next.
local function read_service(name)
  local used, held, live, hour, hour_tokens, day, day_tokens = string.match(
    redis.call('HGET', SERVICES, name) or '', '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  if not used then
    return { used = 0, held = 0, live = 0, hour = 0, hour_tokens = 0, day = 0, day_tokens = 0 }
  end
  return {
    used = tonumber(used), held = tonumber(held), live = tonumber(live),
    hour = tonumber(hour), hour_tokens = tonumber(hour_tokens),
    day = tonumber(day), day_tokens = tonumber(day_tokens),
  }
end

local function write_service(name, service)
  redis.call('HSET', SERVICES, name, string.format(
    '%.0f|%.0f|%.0f|%.0f|%.0f|%.0f|%.0f', service.used, service.held, service.live, service.hour,
    service.hour_tokens, service.day, service.day_tokens))
end

-- Add tokens, fewer than none too, to the windows of that moment, unless later ones have begun.
local function count_in_windows(service, moment, tokens)
  local hour, day = math.floor(moment / HOUR), math.floor(moment / DAY)
  if hour > service.hour then
    service.hour, service.hour_tokens = hour, 0
  end
  if hour == service.hour then
    service.hour_tokens = math.max(0, service.hour_tokens + tokens)
  end
  if day > service.day then
    service.day, service.day_tokens = day, 0
  end
  if day == service.day then
    service.day_tokens = math.max(0, service.day_tokens + tokens)
  end
end

-- Tokens in today's and this hour's windows.
local function in_windows(service)
  return service.hour == math.floor(NOW / HOUR) and service.hour_tokens or 0,
    service.day == math.floor(NOW / DAY) and service.day_tokens or 0
end

local function write_hold(id, cost, start, expiry, epoch, name, endpoint)
  redis.call('HSET', HOLDS, id, string.format(
    '%.0f|%.0f|%.0f|%.0f|%s|%s', cost, start, expiry, epoch, name, endpoint))
  redis.call('ZADD', EXPIRIES, whole(expiry), id)
  redis.call('ZADD', STARTS, whole(start), id)
  state.held = state.held + cost
  local service = read_service(name)
  service.held, service.live = service.held + cost, service.live + 1
  count_in_windows(service, start, cost)
  write_service(name, service)
  -- One that comes back was counted in its own epoch, unless no store was there to do it.
  if epoch == state.epoch or epoch == 0 then
    count_usage(name, endpoint, 'calls', 1)
  end
end

-- Remember that an id is resolved, where its absence alone could not say so: a late or resent
-- transition of a call that began in an older epoch, or whose reserve has not run yet.
local function mark(id)
  redis.call('HSET', HOLDS, id, 'resolved')
  redis.call('ZADD', EXPIRIES, whole(NOW + MARKER_LIFE), id)
  redis.call('ZREM', STARTS, id)
end

-- A hold ends, and so many tokens are gone for it.
local function drop_hold(id, hold, consumed)
  redis.call('HDEL', HOLDS, id)
  redis.call('ZREM', EXPIRIES, id)
  redis.call('ZREM', STARTS, id)
  state.held = state.held - hold.cost
  local service = read_service(hold.service)
  service.used = service.used + consumed
  service.held = math.max(0, service.held - hold.cost)
  service.live = math.max(0, service.live - 1)
  count_in_windows(service, hold.start, consumed - hold.cost)
  write_service(hold.service, service)
  count_usage(hold.service, hold.endpoint, 'tokens', consumed)
end

-- What each lump surely brings. Keepa rounds; rounding down can only be too careful.
local function gain_of(rate, flow)
  return math.floor(math.max(0, rate * MICRO - flow) / MICRO)
end

-- tokens after so many lumps into a bucket of that capacity; a lump never lowers a balance.
local function after_lumps(tokens, lumps, gain, capacity)
  return math.max(tokens, math.min(tokens + lumps * gain, capacity))
end

-- How many lumps of a schedule with one at `at` have come by now.
local function lumps_due(at)
  if at > NOW then
    return 0
  end
  return math.floor((NOW - at) / MINUTE) + 1
end

-- The store was found empty, restarted or failed over: what it says of the balance may be old, the
-- holds it has are kept, and the others come back by keep.
local function begin_epoch()
  state.epoch = NOW
  state.balance, state.lump_at, state.observed_at = false, false, false
  state.consumed, state.consumed_since_lump, state.withheld = 0, 0, 0
  state.late_gain, state.late_capacity = false, false
  state.doubtful, state.suspected, state.doubt_at, state.asked_at = 0, 0, false, 0
  state.refresh_until = 0
  state.held = 0
  local held, live = {}, {}
  for _, record in ipairs(redis.call('HVALS', HOLDS)) do
    local cost, name = string.match(record, '^(%d+)|%d+|%d+|%d+|([^|]*)|')
    if cost then
      state.held = state.held + tonumber(cost)
      held[name] = (held[name] or 0) + tonumber(cost)
      live[name] = (live[name] or 0) + 1
    end
  end
  for _, name in ipairs(redis.call('HKEYS', SERVICES)) do
    if not string.find(name, '|', 1, true) then
      local service = read_service(name)
      service.held, service.live = held[name] or 0, live[name] or 0
      write_service(name, service)
    end
  end
end

-- The balance after the next lump. What was settled since our last one may have been spent after the
-- true lump came, and overflowed the bucket: it leaves no room.
local function after_next_lump()
  local gain = state.late_gain or gain_of(state.refill_rate, state.flow)
  local capacity = state.late_capacity or CAPACITY_MINUTES * state.refill_rate
  return after_lumps(state.balance, 1, gain, capacity - state.consumed_since_lump)
end

-- What the first lump due leaves out to be careful (withheld) is no drift when an observation brings
-- it back.
local function fall_lumps()
  if not state.balance then
    return
  end
  local due = lumps_due(state.lump_at)
  if due == 0 then
    return
  end
  local gain = gain_of(state.refill_rate, state.flow)
  local capacity = CAPACITY_MINUTES * state.refill_rate
  local hoped = state.balance + state.withheld
  local ideal = after_lumps(hoped, due, gain, capacity)
  local after = after_lumps(after_next_lump(), due - 1, gain, capacity)
  local lost = math.max(0, due * gain - (ideal - hoped))
  events.lost = events.lost + lost
  count_usage('', '', 'lost', lost)
  state.withheld = math.max(0, ideal - after)
  state.balance = after
  state.consumed_since_lump = 0
  state.late_gain, state.late_capacity = false, false
  state.lump_at = state.lump_at + due * MINUTE
end

-- tokens left the bucket. consumed (C) is raised by the caller, after its observation was weighed.
local function spend(tokens)
  if state.balance then
    state.balance = state.balance - tokens
  end
  state.consumed_since_lump = state.consumed_since_lump + tokens
  state.used = state.used + tokens
end

-- T may lack so many tokens more: Keepa may not have charged them, or T may be without them already.
-- An observation is asked for at once, and what it brings back of them is no drift.
local function doubt(tokens)
  if state.balance then
    state.doubtful = state.doubtful + tokens
    state.doubt_at = NOW
  end
end

-- A hold that nobody resolved in time counts as spent; the next observation corrects it where Keepa
-- never charged it.
local function reap()
  local due = redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', whole(NOW), 'LIMIT', 0, REAP_AT_MOST)
  for _, id in ipairs(due) do
    local hold = read_hold(id)
    if not hold or hold.marker then
      redis.call('HDEL', HOLDS, id)
      redis.call('ZREM', EXPIRIES, id)
    else
      drop_hold(id, hold, hold.cost)
      spend(hold.cost)
      state.consumed = state.consumed + hold.cost
      if hold.cost > 0 then
        doubt(hold.cost)
        events.reaped = events.reaped + 1
        events.reaped_tokens = events.reaped_tokens + hold.cost
      end
      if hold.epoch ~= state.epoch then
        mark(id)
      end
    end
  end
end

-- Costs of the holds that began before that moment: what may be in an answer of then, uncounted by us.
local function held_before(moment)
  local later = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', STARTS, '(' .. whole(moment), '+inf')) do
    local hold = read_hold(id)
    later = later + (hold and hold.cost or 0)
  end
  return state.held - later
end

local function read_observation(first)
  return {
    tokens = argument(first), refill_in = argument(first + 1) * 1000, rate = argument(first + 2),
    flow = argument(first + 3), seen_at = NOW - argument(first + 4),
  }
end

-- T lacks no more than so many tokens. Of what others were thought to have spent, the rest is gone.
local function narrow_doubt(most)
  local suspected = math.min(state.suspected, most)
  events.spent = events.spent + state.suspected - suspected
  state.suspected, state.doubtful = suspected, math.min(state.doubtful, most - suspected)
end

-- So many tokens are there after all: first those that T may have lacked, the rest is drift.
local function bring_back(tokens)
  local suspected = math.min(state.suspected, tokens)
  local doubtful = math.min(state.doubtful, tokens - suspected)
  state.suspected, state.doubtful = state.suspected - suspected, state.doubtful - doubtful
  return math.max(0, tokens - suspected - doubtful - state.withheld)
end

-- Weigh what an answer says of the bucket against our own accounting (the interval rule).
-- consumed_then: C when its call began. An answer is already old when it arrives: what others settled
-- since may be missing in it (the lower bound), what is in flight may be in it (the upper bound).
local function weigh(observation, consumed_then)
  local gain = gain_of(observation.rate, observation.flow)
  local capacity = CAPACITY_MINUTES * observation.rate
  local is_newest = not state.observed_at or observation.seen_at >= state.observed_at
  local lump_at = observation.seen_at + observation.refill_in
  local lumps = lumps_due(lump_at)
  lump_at = lump_at + lumps * MINUTE
  local lowest = after_lumps(observation.tokens, lumps, gain, capacity) - (state.consumed - consumed_then)
  local highest = after_lumps(
    observation.tokens + held_before(observation.seen_at), lumps, gain, capacity)

  if not state.balance or state.balance < lowest or state.balance > highest then
    if not state.balance then
      -- What is in flight may be in it.
      state.balance = lowest
      doubt(highest - lowest)
    elseif state.balance > highest then
      events.spent = events.spent + state.balance - highest
      state.doubtful, state.suspected = 0, highest - lowest
      doubt(0)
    else
      local back = bring_back(lowest - state.balance)
      events.back = events.back + back
      if back > 0 then
        doubt(0)
      end
    end
    state.balance, state.lump_at, state.withheld = lowest, lump_at, 0
    state.late_gain, state.late_capacity = false, false
  else
    -- Half a minute tells a later phase from an earlier one: the same number of lumps, only later.
    local later = (lump_at - state.lump_at) % MINUTE
    if later < MINUTE / 2 then
      state.lump_at = state.lump_at + later
    elseif is_newest and lump_at > state.lump_at and state.refill_rate > 0 then
      -- Keepa's lump has come and ours is still due: under the plan of then, or of now, whichever
      -- brings less.
      state.late_gain = math.min(
        gain, state.late_gain or gain_of(state.refill_rate, state.flow))
      state.late_capacity = math.min(
        capacity, state.late_capacity or CAPACITY_MINUTES * state.refill_rate)
    end
  end
  narrow_doubt(highest - state.balance)
  if is_newest then
    state.refill_rate, state.flow = observation.rate, observation.flow
    state.observed_at = observation.seen_at
  end
end

-- Tokens that T may lack, for as long as it takes to ask /token about them.
local function unsure()
  local is_recent = state.doubt_at and NOW - state.doubt_at < UNSURE
  return is_recent and state.doubtful + state.suspected or 0
end

-- What a transition answers; what was noticed up to here is told once.
local function report(code, ...)
  local noticed = events
  forget_events()
  return {
    code, whole(state.epoch), state.balance and 1 or 0, state.balance or 0, state.held,
    state.refill_rate, state.flow, state.lump_at and state.lump_at - NOW or MINUTE,
    state.observed_at and NOW - state.observed_at or 0, state.consumed,
    noticed.lost, noticed.spent, noticed.back, noticed.reaped, noticed.reaped_tokens,
    noticed.overrun, unsure(), state.doubt_at or 0, ...
  }
end

-- The same for one that runs by itself.
local function reply(...)
  save()
  return report(...)
end

-- Microseconds until this epoch has learned of every gateway's live holds.
local function learning_left()
  return math.max(0, state.epoch + LEARNING - NOW)
end

-- What every transition does first, once it has read its arguments: nothing is written before.
local function begin()
  if not state.epoch or stored[1] ~= RUN_ID then
    begin_epoch()
  end
  fall_lumps()
  reap()
end
