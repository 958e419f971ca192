-- What speaks against a call (T3): the budget, its service's caps, those who wait before it, the rate.
-- include: ledger, clock, lumps, queue, reply, room, slots, tallies, units
-- include when needed: waits

local NEVER = math.huge
local HOUR, DAY = units.HOUR, units.DAY
local state = ledger.state

-- How long until the caps of hour and day let the call pass; 0: they do.
local function judge_windows(call)
  local terms, cost, wait = call.terms, call.cost, 0
  if not terms.is_capped or cost == 0 then
    return 0
  end
  local function judge_window(cap, tokens, length)
    if cap > 0 and tokens + cost > cap then
      wait = math.max(wait, cost > cap and NEVER or length - clock.now % length)
      call.room = math.max(0, call.room < 0 and cap - tokens or math.min(call.room, cap - tokens))
    end
  end
  local hour_tokens, day_tokens = tallies.in_windows(tallies.read(call.service))
  judge_window(terms.hour, hour_tokens, HOUR)
  judge_window(terms.day, day_tokens, DAY)
  return wait
end

-- What those who wait before it leave to the call.
local function judge_queue(call, is_overdrawn)
  local terms, cost, floor = call.terms, call.cost, call.terms.floor
  local served = queue.serve(slots.free(call.slot, call.burst), floor, call.arrival)
  if terms.live > 0 and room.live_of(served, call.service) >= terms.live then
    call.room = 0
    return reply.CONCURRENCY, units.MICRO, not is_overdrawn
  end
  if is_overdrawn and (#served.calls > 0 or served.is_longer) then
    return reply.CAPACITY, NEVER
  end
  if room.may_run(served, cost, floor) or is_overdrawn and served.slots >= 1 then
    return nil
  end
  local slot_wait = slots.wait_for(call.slot, call.burst, served.calls_ahead)
  local has_tokens = is_overdrawn or room.fits(served.available, cost, floor)
  if cost == 0 or served.slots < 1 and has_tokens then
    return reply.RATE, slot_wait, not is_overdrawn
  end
  local wait = math.max(waits().until_it_fits(call, served.tokens_ahead), slot_wait)
  return terms.own_floor and reply.SERVICE_FLOOR or reply.FLOOR, wait, true
end

-- Returns a code, how long until nothing speaks against the call, and whether it can be waited for in the
-- queue; or nothing. `call` learns what it needs, and in `room` what a cap of its service leaves.
local function judge(call, stale)
  local cost = call.cost
  if cost > 0 then
    if not state.balance or clock.now - state.observed_at > stale then
      return reply.UNKNOWN, 0
    end
    local left = clock.learning_left()
    if left > 0 then
      return reply.UNKNOWN, left
    end
  end
  call.capacity = lumps.capacity_of(state.refill_rate)
  call.needed = math.max(cost + call.terms.floor, 1)
  call.is_too_dear = call.needed > call.capacity
  local is_overdrawn = cost > 0 and call.is_too_dear
  -- Keepa itself runs such a call as long as there is anything: here alone, and from a full bucket only.
  if is_overdrawn
    and not (call.terms.overdraft and state.balance >= call.capacity and state.held == 0) then
    return reply.CAPACITY, NEVER
  end
  local wait = judge_windows(call)
  if wait > 0 then
    if not is_overdrawn and not room.fits(state.balance - state.held, cost, call.terms.floor) then
      -- For the window, and for the tokens that it lacks even so.
      wait = math.max(wait, waits().until_it_fits(call, 0))
    end
    return reply.QUOTA, wait
  end
  return judge_queue(call, is_overdrawn)
end

return { NEVER = NEVER, judge = judge }
