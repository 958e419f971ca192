-- Admit a call: hold its cost and take its request slot, both or nothing.
--
-- given[3] id of the call            given[4] cost, tokens           given[5] floor of its service, tokens
-- given[6] life of the hold, us      given[7] service                given[8] endpoint
-- given[9] requests a minute, 0: no request rate, -1: auto            given[10] slots of a full burst, likewise
-- given[11] us after which an observation is too old to spend on
-- given[12] terms of the service: "own floor|tokens per hour|tokens per day|holds|overdraft", see
--          read_terms; empty: none of its own
-- given[13] what for: "admit"; "shadow": admit whatever speaks against it; "uncounted": so,
--          and do not count it as refused; "refused": so, for a call that is refused already and would
--          have taken no request slot; "quote": change nothing
-- given[14] us that the call may wait from now on, 0: it does not
-- given[15] its place in the queue, empty: it has none              given[16] name of the gateway
-- Returns the shared reply, the microseconds after which the call may be tried again (-1: never), the
-- place in the queue of a call that waits, in shadow the code of what spoke against it, the tokens
-- that a cap of the service leaves where it is in the way (else -1), and the requests a minute in force.
-- Safe to run twice: an id that is held is admitted again and takes nothing.

-- So many expiries are read to tell a refused call how long to wait.
local ENDS_AT_MOST = 200

local function reserve()
  local id, service, endpoint = given[3], given[7], given[8]
  local cost, floor, life = argument(4), argument(5), argument(6)
  local rate, rate_burst, stale = argument(9), argument(10), argument(11)
  local purpose, wait_left, place, gateway = given[13], argument(14), given[15], given[16]

  -- own_floor: whether the floor is the service's, not the account's. A cap of 0 is none.
  local function read_terms(text)
    local own_floor, hour, day, live, overdraft = string.match(text, '^(%d)|(%d+)|(%d+)|(%d+)|(%d)$')
    if not own_floor then
      return text == '' and {} or error('BADARG terms')
    end
    return {
      own_floor = own_floor == '1', hour = tonumber(hour), day = tonumber(day),
      live = tonumber(live), overdraft = overdraft == '1', capped = hour .. day ~= '00',
    }
  end
  local terms = read_terms(given[12])

  return function()
    local per_minute, burst = rate_in_force(rate, rate_burst)
    local slot = open_slots(per_minute, burst)
    local held = read_hold(id)
    if held then
      -- A marker: the caller was given up and the id released before this late copy ran.
      return report(held.marker and RESOLVED or DONE, 0, '', DONE, -1, per_minute)
    end

    local arrival = place == '' and arrive() or read_place(place).arrival
    local NEVER = math.huge
    local capacity = CAPACITY_MINUTES * state.refill_rate
    local needed = math.max(cost + floor, 1)
    local is_too_dear = needed > capacity

    -- When available reaches `needed` and the `ahead` tokens of those who wait before: by the next lump,
    -- or by whole ones after it.
    local function until_it_fits(ahead)
      local lumps = lumps_until(math.min(needed + state.held, capacity) + ahead)
      if not lumps or is_too_dear then
        return NEVER
      end
      local wait = state.lump_at - NOW + lumps * MINUTE
      -- Where the holds keep the full bucket too small, enough of them have to end first.
      local excess = needed + state.held - capacity
      if excess > 0 then
        local ends = redis.call(
          'ZRANGEBYSCORE', EXPIRIES, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, ENDS_AT_MOST)
        for i = 1, #ends, 2 do
          excess = excess - sum_costs({ ends[i] })
          if excess <= 0 then
            return math.max(wait, tonumber(ends[i + 1]) - NOW)
          end
        end
        -- More of them: when the last one has ended, that is long enough.
        local last = redis.call('ZREVRANGE', EXPIRIES, 0, 0, 'WITHSCORES')
        return math.max(wait, tonumber(last[2] or 0) - NOW)
      end
      return wait
    end

    local room = -1

    -- How long until the caps of hour and day let the call pass; 0: they do.
    local function judge_windows()
      if not terms.capped then
        return 0
      end
      local tallies = read_service(service)
      local hour_tokens, day_tokens = in_windows(tallies)
      local wait = 0
      local function judge_window(cap, tokens, length)
        if cap > 0 and cost > 0 and tokens + cost > cap then
          wait = math.max(wait, cost > cap and NEVER or length - NOW % length)
          room = math.max(0, room < 0 and cap - tokens or math.min(room, cap - tokens))
        end
      end
      judge_window(terms.hour, hour_tokens, HOUR)
      judge_window(terms.day, day_tokens, DAY)
      return wait
    end

    -- What those who wait before it leave to the call.
    local function judge_queue(overdrawn)
      local queue = serve_queue(free_slots(slot, burst), floor, arrival)
      if (terms.live or 0) > 0 and queue.live_of(service) >= terms.live then
        room = 0
        return CONCURRENCY, MICRO, not overdrawn
      end
      if overdrawn and (#queue.served > 0 or queue.is_longer) then
        return CAPACITY, NEVER
      end
      if queue.may_run(cost, floor) or overdrawn and queue.slots >= 1 then
        return nil
      end
      local slot_wait = 0
      if slot > 0 then
        local full_at = math.max(state.rate_full_at, NOW) + (queue.calls_ahead + 1) * slot
        slot_wait = math.max(0, full_at - burst * slot - NOW)
      end
      if cost == 0 or queue.slots < 1 and (overdrawn or fits(queue.available, cost, floor)) then
        return RATE, slot_wait, not overdrawn
      end
      local wait = math.max(until_it_fits(queue.tokens_ahead), slot_wait)
      return terms.own_floor and SERVICE_FLOOR or FLOOR, wait, true
    end

    -- What speaks against the call: a code, how long until nothing does, and whether it can be waited for
    -- in the queue; or nothing.
    local function judge()
      if cost > 0 then
        if not state.balance or NOW - state.observed_at > stale then
          return UNKNOWN, 0
        end
        if learning_left() > 0 then
          return UNKNOWN, learning_left()
        end
      end
      local overdrawn = cost > 0 and is_too_dear
      -- Keepa itself runs such a call as long as there is anything: here alone, and from a full bucket only.
      if overdrawn and not (terms.overdraft and state.balance >= capacity and state.held == 0) then
        return CAPACITY, NEVER
      end
      local wait = judge_windows()
      if wait > 0 then
        if not overdrawn and not fits(state.balance - state.held, cost, floor) then
          -- For the window, and for the tokens that it lacks even so.
          wait = math.max(wait, until_it_fits(0))
        end
        return QUOTA, wait
      end
      return judge_queue(overdrawn)
    end

    -- What a refused call counts as; UNKNOWN is no verdict on it.
    local REASONS = {
      [FLOOR] = 'floor', [CAPACITY] = 'exceeds_capacity', [RATE] = 'rate_limited',
      [SERVICE_FLOOR] = 'service_floor', [QUOTA] = 'service_quota', [CONCURRENCY] = 'service_concurrency',
    }

    local function count_refusal(code)
      if REASONS[code] then
        count_refused(service, REASONS[code], 1)
        count_usage(service, endpoint, 'refusals', 1)
      end
    end

    local code, wait, may_wait = judge()
    if purpose == 'quote' then
      return report(code or DONE, wait and (wait == NEVER and -1 or wait) or 0, '', DONE, room, per_minute)
    end
    if code and purpose == 'admit' then
      if may_wait and wait <= wait_left then
        if place == '' then
          place = make_place(
            arrival, floor, NOW + wait_left, cost, terms.live or 0, gateway, service, id)
        end
        join(place, gateway, code == CONCURRENCY and aside_score(service) or 0)
        return report(code, wait, place, DONE, room, per_minute)
      end
      if place ~= '' then
        redis.call('ZREM', QUEUE, place)
      end
      count_refusal(code)
      return report(code, wait == NEVER and -1 or wait, '', DONE, room, per_minute)
    end

    if place ~= '' then
      redis.call('ZREM', QUEUE, place)
    end
    if purpose == 'shadow' then
      count_refusal(code or DONE)
    end
    -- As where it is enforced: what is refused takes no slot.
    if purpose ~= 'refused' and (not code or code == UNKNOWN) then
      take_slot(slot, burst)
    end
    state.requests = state.requests + 1
    write_hold(id, cost, NOW, NOW + life, state.epoch, service, endpoint)
    return report(DONE, 0, '', code or DONE, room, per_minute)
  end
end
