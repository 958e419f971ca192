-- What a transition replies, and what is written at its end.
-- include: ledger, clock, balance, counters, notices, tallies, units

local MINUTE, state = units.MINUTE, ledger.state

-- The reply of one transition; what was noticed up to here is told once.
--
-- {code, epoch, known, balance, held, rate, flow, microseconds to the next lump, microseconds since the
-- newest observation, consumed, doubtful tokens, when T became doubtful (0: it is not), what was noticed
-- (see notices.lua; 0: nothing), then the transition's own}
local function report(code, ...)
  return {
    code, state.epoch, state.balance and 1 or 0, state.balance or 0, state.held, state.refill_rate,
    state.flow, state.lump_at and state.lump_at - clock.now or MINUTE,
    state.observed_at and clock.now - state.observed_at or 0, state.consumed, balance.unsure(),
    state.doubt_at or 0, notices.take(), ...
  }
end

-- What reserve.lua adds.
local function of_reserve(call, code, wait, text, against)
  return report(
    code, wait == math.huge and -1 or wait, text, against, call.room, call.per_minute)
end

-- Write what has changed: once, when all transitions of a script have run.
local function save()
  tallies.save()
  counters.save()
  ledger.save()
end

-- The same for a transition that runs by itself.
local function finish(...)
  local told = report(...)
  save()
  return told
end

return {
  -- Codes of the first element; the same as Code in replies.py.
  DONE = 0, UNKNOWN = 1, FLOOR = 2, CAPACITY = 3, RATE = 4, RESOLVED = 5,
  SERVICE_FLOOR = 6, QUOTA = 7, CONCURRENCY = 8,
  report = report, of_reserve = of_reserve, save = save, finish = finish,
}
