-- When /token is to be asked although the observation is still young (C12): at once where T has become
-- doubtful, then each time that the doubt has doubled its age, for as long as it lasts.
-- include: keys, ledger, clock, units

local ASK_AT_MOST_EVERY = units.MICRO
local state = ledger.state

-- Microseconds until a doubt may be asked about; nil: there is none.
local function until_asked()
  if not state.doubt_at then
    return nil
  end
  local asked_at = math.min(state.asked_at, clock.now)
  local pause = math.max(ASK_AT_MOST_EVERY, asked_at - state.doubt_at)
  return math.max(0, asked_at + pause - clock.now)
end

-- What claim_refresh and observe add to the shared reply: microseconds until this epoch admits calls, and
-- until there may be a doubt to ask about, which is also when the next hold expires (-1: no hold).
local function tell()
  local expiry = redis.call('ZRANGE', keys.expiries, 0, 0, 'WITHSCORES')[2]
  local look = math.min(
    until_asked() or math.huge, expiry and tonumber(expiry) - clock.now or math.huge)
  return clock.learning_left(), look == math.huge and -1 or math.max(0, look)
end

return { until_asked = until_asked, tell = tell }
