-- What T may lack (C12), and how an observation corrects it (T7).
-- include: ledger, clock, notices

local state = ledger.state

-- T may lack so many tokens more: Keepa may not have charged them, or T may be without them already.
-- An observation is asked for at once, and what it brings back of them is no drift.
local function doubt(tokens)
  if state.balance then
    state.doubtful = state.doubtful + tokens
    state.doubt_at = clock.now
  end
end

-- T lacks no more than so many tokens. Of what others were thought to have spent, the rest is gone.
local function narrow(most)
  local suspected = math.min(state.suspected, most)
  notices.add('spent', state.suspected - suspected)
  state.suspected, state.doubtful = suspected, math.min(state.doubtful, most - suspected)
end

-- So many tokens are there after all: first those that T may have lacked, the rest is drift.
local function bring_back(tokens)
  local suspected = math.min(state.suspected, tokens)
  local doubtful = math.min(state.doubtful, tokens - suspected)
  state.suspected, state.doubtful = state.suspected - suspected, state.doubtful - doubtful
  return math.max(0, tokens - suspected - doubtful - state.withheld)
end

-- T is outside of what the answer allows: it becomes the lowest, with the answer's lumps.
local function correct(lowest, highest, lump_at)
  if not state.balance then
    -- What is in flight may be in it.
    state.balance = lowest
    doubt(highest - lowest)
  elseif state.balance > highest then
    notices.add('spent', state.balance - highest)
    state.doubtful, state.suspected = 0, highest - lowest
    doubt(0)
  else
    local back = bring_back(lowest - state.balance)
    notices.add('back', back)
    if back > 0 then
      doubt(0)
    end
  end
  state.balance, state.lump_at, state.withheld = lowest, lump_at, 0
  state.late_gain, state.late_capacity = false, false
end

return { doubt = doubt, narrow = narrow, correct = correct }
