-- A call that may not run now: it waits in the queue, or is refused and counted.
-- include: clock, counters, queue, reply
-- include when needed: place

-- What a refused call counts as; UNKNOWN is no verdict on it.
local REASONS = {
  [reply.FLOOR] = 'floor', [reply.CAPACITY] = 'exceeds_capacity', [reply.RATE] = 'rate_limited',
  [reply.SERVICE_FLOOR] = 'service_floor', [reply.QUOTA] = 'service_quota',
  [reply.CONCURRENCY] = 'service_concurrency',
}

local function count(call, code)
  if REASONS[code] then
    counters.count_refused(call.service, call.endpoint, REASONS[code], 1)
  end
end

-- Take a place, or keep the one it has, and come back when it is asked for.
local function wait_in_queue(call, code, wait)
  if call.place == '' then
    call.place = place().pack({
      arrival = call.arrival, floor = call.terms.floor, ends_at = clock.now + call.wait,
      cost = call.cost, live_cap = call.terms.live, gateway = call.rules.gateway,
      service = call.service, id = call.id,
    })
  end
  local score = code == reply.CONCURRENCY and place().aside_score(call.service) or 0
  queue.join(call.place, call.rules.gateway, score)
  return reply.of_reserve(call, code, wait, call.place, reply.DONE)
end

local function refuse(call, code, wait, may_wait)
  if may_wait and wait <= call.wait then
    return wait_in_queue(call, code, wait)
  end
  queue.leave(call.place)
  count(call, code)
  return reply.of_reserve(call, code, wait, '', reply.DONE)
end

return { refuse = refuse, count = count }
