-- Turn the ledger's clock: every moment it remembers moves into the past by ARGV[3] microseconds,
-- which to its scripts is the same as that much time passing; fewer than 0: into the future, which
-- is the same as a clock that was set back.
local ledger, holds, expiries, starts, markers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[8]
local shift = tonumber(ARGV[3])
local function earlier(text)
  return string.format('%.0f', tonumber(text) - shift)
end
local MOMENTS = {
  'lump_at', 'observed_at', 'rate_full_at', 'refresh_until', 'doubt_at', 'asked_at', 'clock',
}
for _, field in ipairs(MOMENTS) do
  local value = redis.call('HGET', ledger, field)
  if value and value ~= '' then
    redis.call('HSET', ledger, field, earlier(value))
  end
end
for _, zset in ipairs({ expiries, starts, markers }) do
  local pairs_ = redis.call('ZRANGE', zset, 0, -1, 'WITHSCORES')
  for i = 1, #pairs_, 2 do
    redis.call('ZADD', zset, earlier(pairs_[i + 1]), pairs_[i])
  end
end
local records = redis.call('HGETALL', holds)
for i = 1, #records, 2 do
  local cost, start, expiry, rest = string.match(records[i + 1], '^(%d+)|(%d+)|(%d+)|(.*)$')
  if cost then
    redis.call('HSET', holds, records[i],
      table.concat({ cost, earlier(start), earlier(expiry), rest }, '|'))
  end
end
return 1
