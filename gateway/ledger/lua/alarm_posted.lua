-- Note how the claimant's post of an alarm ended; see alarm_seen.lua for the record.
--
-- KEYS[1] alarms
-- ARGV[3] the alarm's name         ARGV[4] the caller's name
-- ARGV[5] what was posted, 1 or 0
-- ARGV[6] us that nobody is to try again; 0: the post arrived
-- ARGV[7] tokens that it told of; 0: it does not count any
-- Returns {1}, or {0}: the claim is another's by now, who posts, too. Safe to run twice.

local ALARMS = KEYS[1]
local name, caller, posted, pause = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local counted = ARGV[7]

local told, since, last_on, tokens, claimant = string.match(
  redis.call('HGET', ALARMS, name) or '', '^(%d+)|(%d+)|(%d+)|(%d+)|%d+|(.*)$')
if claimant ~= caller then
  return { 0 }
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
if pause > 0 then
  redis.call('HSET', ALARMS, name, string.format(
    '%s|%s|%s|%s|%.0f|', told, since, last_on, tokens, now + pause))
else
  if posted == '0' then
    since, tokens = '0', '0'
    redis.call('HDEL', ALARMS, name .. ':told')
  elseif counted ~= '0' then
    redis.call('HSET', ALARMS, name .. ':told', string.format('%s|%.0f', counted, now))
  end
  redis.call('HSET', ALARMS, name, string.format(
    '%s|%s|%s|%s|0|', posted, since, last_on, tokens))
end
return { 1 }
