-- Steps that every transition shares. This text is put in front of each transition's own file.
--
-- KEYS[1] ledger    hash: the balance and everything that is one per account
-- KEYS[2] holds     hash: id -> "cost|start|expiry|epoch|service|endpoint". "resolved": a marker as
--                   gateways before 0.2 left them, with an expiry, for its 600 s
-- KEYS[3] expiries  zset: id -> when the hold ends, microseconds
-- KEYS[4] starts    zset: id -> when the hold began, microseconds. Whose id is here is counted in held
--                   and in its service's tallies, see recount in begin.lua
-- KEYS[5] services  hash: "<service>" -> "used|held|live|hour|hour's tokens|day|day's tokens", see
--                   read_service; "<service>|<reason>" -> calls refused
-- KEYS[6] queue     zset: places of waiting calls, see queue.lua
-- KEYS[7] gateways  zset: name -> when it last asked for its waiting calls, microseconds
-- KEYS[8] markers   zset: id of a resolved call -> until when late copies are expected, see mark
-- KEYS[9] usage     hash of one clock hour: "<service>|<endpoint>|<tokens, calls or refusals>" -> how
--                   many; "||lost" -> tokens lost to a full bucket
-- ARGV[1] run id of the Redis server that this connection talks to
-- ARGV[2] learning time, microseconds: how long a new epoch admits nothing
-- ARGV[3] and on: the transition's own; where several run in one go (batch.lua), each finds its own in
-- `given`, from given[3] on
--
-- Times are microseconds of Redis' own clock, tokens whole numbers, flows millionths of a token.
-- A reply is {code, epoch, known, balance, held, rate, flow, microseconds to the next lump,
-- microseconds since the newest observation, consumed, lost, spent by others, given back, reaped
-- holds, reaped tokens, overrun, doubtful tokens, when T became doubtful (0: it is not), what was
-- found inconsistent (words with commas between them), then the transition's own}.
--
-- Whatever lies in these keys, no script reads more of them than the bound beside each loop says; what
-- is beyond it is done by a later script, or counts as held. What has no bound beside it is O(1), or one
-- element for each gateway.

local LEDGER, HOLDS, EXPIRIES, STARTS, SERVICES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local QUEUE, GATEWAYS, MARKERS, USAGE = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local RUN_ID, LEARNING = ARGV[1], tonumber(ARGV[2])

-- Codes of the first element of a reply; the same as Code in replies.py.
local DONE, UNKNOWN, FLOOR, CAPACITY, RATE, RESOLVED = 0, 1, 2, 3, 4, 5
local SERVICE_FLOOR, QUOTA, CONCURRENCY = 6, 7, 8

local MICRO = 1000000
local MINUTE, HOUR, DAY = 60 * MICRO, 3600 * MICRO, 86400 * MICRO
local CAPACITY_MINUTES = 60
-- Between looks at sums that are being counted anew.
local RECOUNT_PAUSE = 10000
-- A marker outlives every late copy of a transition that could still be under way.
local MARKER_LIFE = 600 * MICRO
-- A doubt that /token has not ended by then is as good as sure, for who asks how many tokens there are.
local UNSURE = 10 * MICRO
-- At most so many holds are reaped by one script, so that none keeps Redis long. Those beyond are held
-- still.
local REAP_AT_MOST = 200
-- So many holds on either side of a moment are read, see held_before.
local HELD_BEFORE_AT_MOST = 300
-- Tallies and refusals of 50 made-up names for each of some gateways; see read_service and
-- count_refused for who comes after.
local SERVICE_FIELDS = 2200
-- The newest moment is noted so exactly, see CLOCK: an exact one would be a write for each script.
local CLOCK_GRAIN = 10000
-- A clock that is set back by no more stands still instead, until it has caught up. Host clocks are
-- stepped by parts of a second now and then, and each new epoch keeps calls waiting for the learning
-- time; a second without lumps, slots and expiries is careful, and costs a second's worth of them.
local CLOCK_STEP = MICRO
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
-- Keepa, see weigh; false: today's. clock is the newest moment that a script has run at. recount_at
-- and recount_windows: how far the sums are counted anew, see begin.lua; false: they are right.
local stored = redis.call(
  'HMGET', LEDGER, 'run_id', 'epoch', 'balance', 'lump_at', 'refill_rate', 'flow', 'observed_at',
  'consumed', 'consumed_since_lump', 'withheld', 'late_gain', 'late_capacity', 'held',
  'rate_full_at', 'refresh_until', 'used', 'requests', 'doubtful', 'suspected', 'doubt_at',
  'asked_at', 'clock', 'recount_at', 'recount_windows', 'rate_slot')
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
  clock = tonumber(stored[22]) or 0, recount_at = tonumber(stored[23]) or false,
  recount_windows = tonumber(stored[24]) or false, rate_slot = tonumber(stored[25]) or 0,
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

-- The store was emptied, restarted or failed over since the last script.
local is_new_life = not state.epoch or stored[1] ~= RUN_ID
-- By how much the clock is behind the newest moment that a script has run at.
local CLOCK_BEHIND = math.max(0, state.clock - NOW)
-- It was set back: a new epoch, see begin_epoch. Where one begins anyway, time is what the server says.
local HAS_FALLEN = CLOCK_BEHIND > CLOCK_STEP or CLOCK_BEHIND > 0 and is_new_life
if not HAS_FALLEN then
  NOW = math.max(NOW, state.clock)
end
local THIS_HOUR, THIS_DAY = math.floor(NOW / HOUR), math.floor(NOW / DAY)

local events
local function forget_events()
  events = {
    lost = 0, spent = 0, back = 0, reaped = 0, reaped_tokens = 0, overrun = 0, inconsistent = '',
  }
end
forget_events()

-- Tell of something that no order of events explains: our fault, or somebody else's hand in our keys.
local function notice_inconsistent(what)
  if not string.find(events.inconsistent, what, 1, true) then
    local told = events.inconsistent
    events.inconsistent = told == '' and what or told .. ',' .. what
  end
end

-- Values of recount_at: sums and indexes are being cleared; counted up to that cursor of the holds.
local CLEARING, COUNTING = 1, 2

-- Have the sums and indexes counted anew from the holds. Until that is done nothing is admitted.
local function distrust_sums(what)
  notice_inconsistent(what)
  state.recount_at = CLEARING
end

local function save()
  local flat = {}
  for field, value in pairs(changed) do
    flat[#flat + 1] = field
    -- Whole numbers up to 2^53 go to Redis digit by digit, without `whole`.
    flat[#flat + 1] = value or ''
  end
  if stored[1] ~= RUN_ID then
    flat[#flat + 1] = 'run_id'
    flat[#flat + 1] = RUN_ID
  end
  if #flat > 0 then
    redis.call('HSET', LEDGER, unpack(flat))
  end
end

-- A hold of its record; a marker where it is none.
local function parse_hold(record)
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

local function is_marked(id)
  return tonumber(redis.call('ZSCORE', MARKERS, id) or 0) > NOW
end

local function read_hold(id)
  local record = redis.call('HGET', HOLDS, id)
  if record then
    return parse_hold(record)
  end
  return is_marked(id) and { marker = true } or nil
end

-- A service's tallies. used: tokens since the store was empty; held and live: tokens and number of its
-- holds; hour and day: the clock windows (UTC, counted from 1970) that the tokens beside them belong
-- to. A hold counts in the windows that it began in, with its cost until it is resolved, then with
-- what it consumed: so a window that is over owes nothing to the next. Of a clock that was set back,
-- the windows that were in the future are today's and this hour's.
-- Names come from callers, and what they can fill is bounded: who is new where there are too many
-- counts as of the service `other`.
local function read_service(name)
  local record = redis.call('HGET', SERVICES, name)
  if not record and name ~= 'other' and redis.call('HLEN', SERVICES) >= SERVICE_FIELDS then
    return read_service('other')
  end
  local used, held, live, hour, hour_tokens, day, day_tokens = string.match(
    record or '', '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  if not used then
    return { name = name, used = 0, held = 0, live = 0, hour = 0, hour_tokens = 0, day = 0, day_tokens = 0 }
  end
  return {
    name = name, used = tonumber(used), held = tonumber(held), live = tonumber(live),
    hour = math.min(tonumber(hour), THIS_HOUR), hour_tokens = tonumber(hour_tokens),
    day = math.min(tonumber(day), THIS_DAY), day_tokens = tonumber(day_tokens),
  }
end

local function write_service(service)
  redis.call('HSET', SERVICES, service.name, string.format(
    '%.0f|%.0f|%.0f|%.0f|%.0f|%.0f|%.0f', service.used, service.held, service.live, service.hour,
    service.hour_tokens, service.day, service.day_tokens))
end

-- Count calls of a service that were refused.
local function count_refused(name, reason, calls)
  local count = redis.call('HINCRBY', SERVICES, name .. '|' .. reason, calls)
  if count == calls and redis.call('HLEN', SERVICES) > SERVICE_FIELDS and name ~= 'other' then
    redis.call('HDEL', SERVICES, name .. '|' .. reason)
    redis.call('HINCRBY', SERVICES, 'other|' .. reason, calls)
  end
end

-- What a window holds with so many tokens more, or fewer.
local function add_to_window(tokens, more)
  if tokens + more < 0 then
    notice_inconsistent('window_below_zero')
  end
  return math.max(0, tokens + more)
end

-- Add tokens, fewer than none too, to the windows of that moment, unless later ones have begun.
local function count_in_windows(service, moment, tokens)
  moment = math.min(moment, NOW)
  local hour, day = math.floor(moment / HOUR), math.floor(moment / DAY)
  if hour > service.hour then
    service.hour, service.hour_tokens = hour, 0
  end
  if hour == service.hour then
    service.hour_tokens = add_to_window(service.hour_tokens, tokens)
  end
  if day > service.day then
    service.day, service.day_tokens = day, 0
  end
  if day == service.day then
    service.day_tokens = add_to_window(service.day_tokens, tokens)
  end
end

-- Tokens in today's and this hour's windows.
local function in_windows(service)
  return service.hour == THIS_HOUR and service.hour_tokens or 0,
    service.day == THIS_DAY and service.day_tokens or 0
end

local function write_hold(id, cost, start, expiry, epoch, name, endpoint)
  local service = read_service(name)
  redis.call('HSET', HOLDS, id, string.format(
    '%.0f|%.0f|%.0f|%.0f|%s|%s', cost, start, expiry, epoch, service.name, endpoint))
  redis.call('ZADD', EXPIRIES, expiry, id)
  -- While sums are being cleared it is counted with the others.
  if state.recount_at ~= CLEARING then
    redis.call('ZADD', STARTS, start, id)
    state.held = state.held + cost
    service.held, service.live = service.held + cost, service.live + 1
  end
  if state.recount_at ~= CLEARING or not state.recount_windows then
    count_in_windows(service, start, cost)
    write_service(service)
  end
  -- One that comes back was counted in its own epoch, unless no store was there to do it.
  if epoch == state.epoch or epoch == 0 then
    count_usage(service.name, endpoint, 'calls', 1)
  end
end

-- Forget markers whose time is over.
local function forget_markers(at_most)
  local due = redis.call('ZRANGEBYSCORE', MARKERS, '-inf', whole(NOW), 'LIMIT', 0, at_most)
  if #due > 0 then
    redis.call('ZREM', MARKERS, unpack(due))
  end
end

-- Remember that an id is resolved, where its absence alone could not say so: a late or resent
-- transition of a call that began in an older epoch, or whose reserve has not run yet.
-- Callers who hang up leave one each: each removes more than one whose time is over.
local function mark(id)
  redis.call('ZADD', MARKERS, NOW + MARKER_LIFE, id)
  forget_markers(4)
end

-- A hold ends, and so many tokens are gone for it.
local function drop_hold(id, hold, consumed)
  redis.call('HDEL', HOLDS, id)
  redis.call('ZREM', EXPIRIES, id)
  local is_counted = redis.call('ZREM', STARTS, id) == 1 and state.recount_at ~= CLEARING
  local service = read_service(hold.service)
  service.used = service.used + consumed
  if is_counted then
    state.held = state.held - hold.cost
    service.held, service.live = service.held - hold.cost, service.live - 1
    if state.held < 0 or service.held < 0 or service.live < 0 then
      distrust_sums('sum_below_zero')
      state.held = math.max(0, state.held)
      service.held, service.live = math.max(0, service.held), math.max(0, service.live)
    end
  elseif not state.recount_at then
    distrust_sums('starts_lost')
  end
  local is_in_windows = is_counted or not state.recount_windows
  count_in_windows(service, hold.start, consumed - (is_in_windows and hold.cost or 0))
  write_service(service)
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
-- never charged it. Returns whether an expiry was found whose hold is lost.
local function reap()
  local is_lost = false
  local due = redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', NOW, 'LIMIT', 0, REAP_AT_MOST)
  for _, id in ipairs(due) do
    local record = redis.call('HGET', HOLDS, id)
    local hold = record and parse_hold(record)
    if not hold or hold.marker then
      redis.call('HDEL', HOLDS, id)
      redis.call('ZREM', EXPIRIES, id)
      is_lost = is_lost or not hold
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
  return is_lost
end

-- Sum of the costs of those holds.
local function sum_costs(ids)
  local sum = 0
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', HOLDS, id)
    sum = sum + (record and parse_hold(record).cost or 0)
  end
  return sum
end

-- Costs of the holds that began before that moment: what may be in an answer of then, uncounted by us.
-- Too low a sum is careful (see weigh): none while sums are not to be trusted, and where too many began
-- on either side, only those that are read.
local function held_before(moment)
  if state.recount_at then
    return 0
  end
  local later = redis.call(
    'ZRANGEBYSCORE', STARTS, '(' .. whole(moment), '+inf', 'LIMIT', 0, HELD_BEFORE_AT_MOST)
  if #later < HELD_BEFORE_AT_MOST then
    return state.held - sum_costs(later)
  end
  return sum_costs(redis.call(
    'ZRANGEBYSCORE', STARTS, '-inf', whole(moment), 'LIMIT', 0, HELD_BEFORE_AT_MOST))
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
    noticed.overrun, unsure(), state.doubt_at or 0, noticed.inconsistent, ...
  }
end

-- The same for one that runs by itself.
local function reply(...)
  save()
  return report(...)
end

-- Microseconds until this epoch has learned of every gateway's live holds, and sums can be trusted.
local function learning_left()
  return math.max(state.recount_at and RECOUNT_PAUSE or 0, state.epoch + LEARNING - NOW)
end
