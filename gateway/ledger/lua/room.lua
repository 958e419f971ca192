-- What those who wait before a call leave to it.
-- include: ledger, lumps, tallies
--
-- `served` says what becomes of those: tokens available and slots left; calls that run, and how many of
-- each service; tokens and calls that are ahead, running or waiting; `first`: what the first who lacks
-- tokens waits for; is_longer: more are behind those that were looked at.

local state = ledger.state

-- Whether so many tokens allow a call. Keepa runs nothing from 0 down, so a negative floor still needs
-- something available (C5).
local function fits(available, cost, floor)
  return cost == 0 or available - cost >= floor and available > 0
end

-- How many calls of a service are in flight, those served in thought included.
local function live_of(served, name)
  return tallies.read(name).live + (served.by_service[name] or 0)
end

-- Whether a call may run on what those before it leave.
local function may_run(served, cost, floor)
  if served.slots < 1 or served.is_longer and (cost > 0 or served.slots < math.huge) then
    return false
  end
  if not fits(served.available, cost, floor) then
    return false
  end
  local first = served.first
  if cost == 0 or not first then
    return true
  end
  -- A full bucket holds no more than its capacity: what passes near that makes it too small.
  local target = first.target + cost
  return target <= lumps.capacity_of(state.refill_rate) and lumps.until_there(target) <= first.lumps
end

return { fits = fits, live_of = live_of, may_run = may_run }
