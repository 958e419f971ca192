-- T as it is spent, and what it may lack (C12).
-- include: ledger, clock, units

-- A doubt that /token has not ended by then is as good as sure, for who asks how many tokens there are.
local UNSURE = 10 * units.MICRO
local state = ledger.state

-- tokens left the bucket. consumed (C) is raised by the caller, after its observation was weighed (C4).
local function spend(tokens)
  if state.balance then
    state.balance = state.balance - tokens
  end
  state.consumed_since_lump = state.consumed_since_lump + tokens
  state.used = state.used + tokens
end

-- Tokens that T may lack, for as long as it takes to ask /token about them.
local function unsure()
  local is_recent = state.doubt_at and clock.now - state.doubt_at < UNSURE
  return is_recent and state.doubtful + state.suspected or 0
end

return { spend = spend, unsure = unsure }
