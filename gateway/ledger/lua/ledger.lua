-- The ledger hash (S1 to S6): read once, and what has changed is written once.
-- include: keys, units
--
-- ARGV[1] run id of the Redis server that this connection talks to (C7)
-- ARGV[2] learning time, microseconds: how long a new epoch admits nothing (C6)
--
-- balance is T, consumed C, consumed_since_lump S. withheld is what the last lump may have brought
-- beyond T (C1). doubtful is what T may lack besides, because calls of our own were counted as spent to
-- be careful; suspected what it may lack because somebody else was thought to have spent it; doubt_at is
-- when T last became doubtful, false where it is not; asked_at is when /token was last asked (C12).
-- balance, lump_at and observed_at are false while unknown. late_gain and late_capacity are the plan that
-- our next lump fell under at Keepa (C10); false: today's. rate_full_at and rate_slot: see slots.lua.
-- clock is the newest moment that a script has run at (C11). recount_at and recount_windows: how far the
-- sums are counted anew, see recount.lua; false: they are right.

local RUN_ID, LEARNING = ARGV[1], tonumber(ARGV[2])

local stored = {}
local flat = redis.call('HGETALL', keys.ledger)
for i = 1, #flat, 2 do
  stored[flat[i]] = flat[i + 1]
end

-- A number; where it is not stored, or unknown, what else.
local function number(field, otherwise)
  local text = stored[field]
  return text and text ~= '' and text + 0 or otherwise
end

local before = {
  epoch = number('epoch', false), balance = number('balance', false), lump_at = number('lump_at', false),
  refill_rate = number('refill_rate', 0), flow = number('flow', 0),
  observed_at = number('observed_at', false), consumed = number('consumed', 0),
  consumed_since_lump = number('consumed_since_lump', 0), withheld = number('withheld', 0),
  late_gain = number('late_gain', false), late_capacity = number('late_capacity', false),
  held = number('held', 0), rate_full_at = number('rate_full_at', 0), rate_slot = number('rate_slot', 0),
  refresh_until = number('refresh_until', 0), used = number('used', 0), requests = number('requests', 0),
  doubtful = number('doubtful', 0), suspected = number('suspected', 0),
  doubt_at = number('doubt_at', false), asked_at = number('asked_at', 0), clock = number('clock', 0),
  recount_at = number('recount_at', false), recount_windows = number('recount_windows', false),
}
-- What a transition changes stands in front of what was read: so what it leaves alone costs nothing.
local state = setmetatable({}, { __index = before })

local function save()
  local changed, n = {}, 0
  for field, value in pairs(state) do
    if value ~= before[field] then
      changed[n + 1], changed[n + 2] = field, value and units.whole(value) or ''
      n = n + 2
    end
  end
  if stored.run_id ~= RUN_ID then
    changed[n + 1], changed[n + 2] = 'run_id', RUN_ID
    n = n + 2
  end
  if n > 0 then
    redis.call('HSET', keys.ledger, unpack(changed))
  end
end

return {
  state = state, save = save, learning = LEARNING,
  -- The store was emptied, restarted or failed over since the last script.
  is_new_life = not state.epoch or stored.run_id ~= RUN_ID,
  -- Values of recount_at: sums and indexes are being cleared; counted up to that cursor of the holds.
  CLEARING = 1, COUNTING = 2,
}
