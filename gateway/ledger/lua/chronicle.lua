-- Keep, for the dashboards of all gateways, what the ledger itself does not: samples of the last
-- hour, the latest refusals, and which gateways there are. Stands alone: no shared steps before it.
--
-- KEYS[1] samples   list, newest first: "second|balance|held|used"; balance is empty while unknown
-- KEYS[2] refusals  list, newest first: "<when, milliseconds>|<gateway's text>"
-- KEYS[3] present   zset: gateway -> when it last came, microseconds
-- ARGV[1], ARGV[2]  as in every script, not looked at
-- ARGV[3] name of the gateway that comes
-- ARGV[4] its sample, "balance|held|used"; empty: none
-- ARGV[5] 1: tell the samples, too
-- ARGV[6] how many refusals; then for each, oldest first, from ARGV[7] on:
--   milliseconds since it happened, text (no two the same); a gateway keeps the latest 50
-- Returns {how many gateways are there, refusals, samples}, both lists newest first.
-- Run twice, it keeps one sample for each interval, and each refusal once.

local SAMPLES, REFUSALS, PRESENT = KEYS[1], KEYS[2], KEYS[3]
local GATEWAY, SAMPLE, TELLS_SAMPLES = ARGV[3], ARGV[4], ARGV[5]

local SECOND = 1000000
local SAMPLE_SECONDS, SAMPLES_AT_MOST, REFUSALS_AT_MOST = 10, 400, 50
-- A gateway comes with each sample: who missed two is gone.
local PRESENT_SECONDS = 25
-- Nobody needs what is older than the picture.
local LIFE_SECONDS = 7200

local refusals = {}
for i = 1, tonumber(ARGV[6]) do
  local first = 7 + (i - 1) * 2
  refusals[i] = { age = tonumber(ARGV[first]), text = ARGV[first + 1] }
  if not refusals[i].age or not refusals[i].text then
    error('BADARG refusal ' .. i)
  end
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * SECOND + tonumber(clock[2])

if #refusals > 0 then
  local known = {}
  for _, kept in ipairs(redis.call('LRANGE', REFUSALS, 0, -1)) do
    known[string.match(kept, '^%d+|(.*)$')] = true
  end
  for _, refusal in ipairs(refusals) do
    if not known[refusal.text] then
      local at = string.format('%.0f', math.floor(now / 1000) - refusal.age)
      redis.call('LPUSH', REFUSALS, at .. '|' .. refusal.text)
    end
  end
  redis.call('LTRIM', REFUSALS, 0, REFUSALS_AT_MOST - 1)
  redis.call('EXPIRE', REFUSALS, LIFE_SECONDS)
end

if SAMPLE ~= '' then
  local newest = redis.call('LINDEX', SAMPLES, 0)
  local last = newest and tonumber(string.match(newest, '^%d+')) or 0
  local this = math.floor(now / SECOND / SAMPLE_SECONDS) * SAMPLE_SECONDS
  -- The clock was set back: what was noted of its future goes, at most all samples.
  while last > this do
    redis.call('LPOP', SAMPLES)
    newest = redis.call('LINDEX', SAMPLES, 0)
    last = newest and tonumber(string.match(newest, '^%d+')) or 0
  end
  if this ~= last then
    redis.call('LPUSH', SAMPLES, string.format('%.0f', this) .. '|' .. SAMPLE)
    redis.call('LTRIM', SAMPLES, 0, SAMPLES_AT_MOST - 1)
    redis.call('EXPIRE', SAMPLES, LIFE_SECONDS)
  end
end

redis.call('ZADD', PRESENT, string.format('%.0f', now), GATEWAY)
redis.call('EXPIRE', PRESENT, LIFE_SECONDS)
-- Whom a clock that was set back would keep here for as long comes again.
local gone, future = now - PRESENT_SECONDS * SECOND, now + PRESENT_SECONDS * SECOND
redis.call('ZREMRANGEBYSCORE', PRESENT, '-inf', string.format('%.0f', gone))
redis.call('ZREMRANGEBYSCORE', PRESENT, string.format('%.0f', future), '+inf')

-- None happened in the future, whatever the clock said then.
local told = redis.call('LRANGE', REFUSALS, 0, -1)
local now_ms = string.format('%.0f', math.floor(now / 1000))
for i, line in ipairs(told) do
  local at, text = string.match(line, '^(%d+)(|.*)$')
  if tonumber(at) > tonumber(now_ms) then
    told[i] = now_ms .. text
  end
end

return {
  redis.call('ZCARD', PRESENT),
  told,
  TELLS_SAMPLES == '1' and redis.call('LRANGE', SAMPLES, 0, -1) or {},
}
