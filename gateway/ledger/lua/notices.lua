-- What a script noticed besides its own work: told once, by the next reply.
-- include: ledger

-- tokens lost to a full bucket, spent by others, given back; reaped holds, reaped tokens; overrun; what
-- was found inconsistent, words with commas between them
local WHAT = { 'lost', 'spent', 'back', 'reaped', 'reaped_tokens', 'overrun' }
local counts, strange = nil, ''

local function add(what, count)
  if count ~= 0 then
    counts = counts or {}
    counts[what] = (counts[what] or 0) + count
  end
end

-- Report a broken invariant: a bug of ours, or a key of the ledger that somebody else changed.
local function inconsistent(what)
  if not string.find(strange, what, 1, true) then
    strange = strange == '' and what or strange .. ',' .. what
  end
end

-- Have the sums and indexes counted anew from the holds (C16). Until that is done nothing is admitted.
local function distrust_sums(what)
  inconsistent(what)
  ledger.state.recount_at = ledger.CLEARING
end

-- What was noticed since this was last asked, as a list; 0: nothing.
local function take()
  if not counts and strange == '' then
    return 0
  end
  local told = {}
  for i, what in ipairs(WHAT) do
    told[i] = counts and counts[what] or 0
  end
  told[#told + 1] = strange
  counts, strange = nil, ''
  return told
end

return { add = add, inconsistent = inconsistent, distrust_sums = distrust_sums, take = take }
