-- What a service is held to, and what a gateway asks of the ledger for all its calls: each record is
-- read once in a run.
-- include: argument

local known = {}

-- own_floor: whether the floor is the service's, not the account's. A cap of 0 is none.
-- "floor|own floor, 0 or 1|tokens per hour|tokens per day|live holds|overdraft, 0 or 1"
local function read_terms(record)
  local terms = known[record]
  if terms then
    return terms
  end
  local number = argument.number
  local floor, own_floor, hour, day, live, overdraft = string.match(
    record, '^(-?%d+)|([01])|(%d+)|(%d+)|(%d+)|([01])$')
  if not floor then
    error('BADARG terms')
  end
  terms = {
    floor = number(floor), own_floor = own_floor == '1', hour = number(hour), day = number(day),
    live = number(live), overdraft = overdraft == '1',
  }
  terms.is_capped = terms.hour > 0 or terms.day > 0
  known[record] = terms
  return terms
end

-- "us that a hold lives|us after which an observation is too old to spend on|requests a minute|slots of a
-- full burst|gateway"; of the rate 0: none, -1: auto
local function read_rules(record)
  local rules = known[record]
  if rules then
    return rules
  end
  local number = argument.number
  local life, stale, per_minute, burst, gateway = string.match(
    record, '^(%d+)|(%d+)|(-?%d+)|(-?%d+)|(.*)$')
  if not life then
    error('BADARG rules')
  end
  rules = {
    life = number(life), stale = number(stale), per_minute = number(per_minute),
    burst = number(burst), gateway = gateway,
  }
  known[record] = rules
  return rules
end

return { read_terms = read_terms, read_rules = read_rules }
