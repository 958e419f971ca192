-- Admit a call (T3): hold its cost and take its request slot, both or nothing.
-- include: ledger, clock, argument, holds, queue, reply, slots, terms, verdict
-- include when needed: place, refusal
--
-- asked   "id|cost|service|endpoint|purpose|us that the call may wait from now on, 0: it does not|its
--         place in the queue, empty: it has none"
-- terms   see terms.lua
-- rules   see terms.lua
-- The purpose: "admit"; "shadow": admit whatever speaks against it; "uncounted": so, and do not count it
-- as refused; "refused": so, for a call that is refused already and would have taken no request slot;
-- "quote": change nothing.
-- Replies with the microseconds after which the call may be tried again (-1: never), the place in the
-- queue of a call that waits, in shadow the code of what spoke against it, the tokens that a cap of the
-- service leaves where it is in the way (else -1), and the requests a minute in force.
-- Safe to run twice: an id that is held is admitted again and takes nothing.

local state = ledger.state
local DONE, UNKNOWN = reply.DONE, reply.UNKNOWN

local function read(asked, its_terms, rules)
  local id, cost, service, endpoint, purpose, wait, text = string.match(
    asked, '^([^|]*)|(%d+)|([^|]*)|([^|]*)|(%a+)|(%d+)|(.*)$')
  if not id then
    error('BADARG asked')
  end
  return {
    id = id, cost = argument.number(cost), service = service, endpoint = endpoint, purpose = purpose,
    wait = argument.number(wait), place = text, place_read = text ~= '' and place().parse(text),
    terms = terms.read_terms(its_terms), rules = terms.read_rules(rules), room = -1,
  }
end

local function run(call)
  local rules, purpose = call.rules, call.purpose
  call.per_minute, call.burst = slots.in_force(rules.per_minute, rules.burst)
  call.slot = slots.open(call.per_minute, call.burst)
  local held = holds.read(call.id)
  if held then
    -- A marker: the caller was given up and the id released before this late copy ran (C8).
    return reply.of_reserve(call, held.marker and reply.RESOLVED or DONE, 0, '', DONE)
  end

  call.arrival = call.place_read and call.place_read.arrival or queue.arrive()
  local code, wait, may_wait = verdict.judge(call, rules.stale)
  if purpose == 'quote' then
    return reply.of_reserve(call, code or DONE, wait or 0, '', DONE)
  end
  if code and purpose == 'admit' then
    return refusal().refuse(call, code, wait, may_wait)
  end

  queue.leave(call.place)
  if code and purpose == 'shadow' then
    refusal().count(call, code)
  end
  -- As where it is enforced: what is refused takes no slot.
  if purpose ~= 'refused' and (not code or code == UNKNOWN) then
    slots.take(call.slot, call.burst)
  end
  state.requests = state.requests + 1
  holds.write(call.id, {
    cost = call.cost, start = clock.now, expiry = clock.now + rules.life, epoch = state.epoch,
    service = call.service, endpoint = call.endpoint,
  })
  return reply.of_reserve(call, DONE, 0, '', code or DONE)
end

return { read = read, run = run }
