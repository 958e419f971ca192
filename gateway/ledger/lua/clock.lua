-- The moment of this script, by Redis' own clock (S7).
-- include: ledger, units

local MICRO = units.MICRO
-- A clock that is set back by no more stands still instead, until it has caught up (C11). Host clocks
-- are stepped by parts of a second now and then, and each new epoch keeps calls waiting for the learning
-- time; a second without lumps, slots and expiries is careful, and costs a second's worth of them.
local STEP = MICRO
-- The newest moment is noted so exactly: an exact one would be a write for each script.
local GRAIN = 10000
-- Between looks at sums that are being counted anew.
local RECOUNT_PAUSE = 10000

local state = ledger.state
local clock = redis.call('TIME')
local NOW = clock[1] * MICRO + clock[2]

-- By how much the clock is behind the newest moment that a script has run at.
local behind = math.max(0, state.clock - NOW)
-- It was set back: a new epoch. Where one begins anyway, time is what the server says.
local has_fallen = behind > STEP or behind > 0 and ledger.is_new_life
if not has_fallen then
  NOW = math.max(NOW, state.clock)
end

-- Note the moment: called once a transition has read its arguments.
local function note()
  if has_fallen or NOW - state.clock >= GRAIN then
    state.clock = NOW
  end
end

-- Microseconds until this epoch has learned of every gateway's live holds (C6), and sums can be trusted.
local function learning_left()
  return math.max(state.recount_at and RECOUNT_PAUSE or 0, state.epoch + ledger.learning - NOW)
end

return {
  now = NOW, hour = math.floor(NOW / units.HOUR), day = math.floor(NOW / units.DAY),
  behind = behind, has_fallen = has_fallen, note = note,
  learning_left = learning_left,
}
