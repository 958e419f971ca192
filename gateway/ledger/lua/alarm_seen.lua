-- Agree on an alarm: what was told of it, and who is to tell when it has begun or ended.
--
-- KEYS[1] alarms  hash: name -> "told|since|last on|tokens|claimed until|claimant"; told is 1 or 0,
--                 moments are microseconds, 0: none; of one that is told again also "<name>:told" ->
--                 "tokens last told|when": a field of its own, for older gateways read the other
-- ARGV[3] the alarm's name
-- ARGV[4] us since the caller last saw it on; -1: never; -2: it cannot say, the alarm stays as told
-- ARGV[5] us that it stays on after anyone last saw it on
-- ARGV[6] what the caller last heard was told, 1 or 0: so it is where the store was emptied
-- ARGV[7] tokens to add to the alarm's
-- ARGV[8] the caller's name        ARGV[9] us that a claim lasts
-- ARGV[10] us after which one that goes on is told again, where there are more tokens; 0: never
-- ARGV[11] us since it began, for a store that does not know it
-- Returns {told, what the caller is to post: 1, 0, or -1: nothing, us until asking again may tell
-- another thing (0: nothing is under way), since, now, tokens, tokens last told}, moments as text.
-- Asked again, the claimant keeps its claim. A claim that is not confirmed in time (alarm_posted.lua) is open
-- to the next who asks: a gateway that dies before it has posted is replaced.

local ALARMS = KEYS[1]
local name, caller = ARGV[3], ARGV[8]
-- The longest pause after a post that failed, microseconds.
local PAUSE_AT_MOST = 60000000

local function argument(index)
  local number = tonumber(ARGV[index])
  if number == nil or number ~= math.floor(number) then
    error('BADARG argument ' .. index .. ' is no whole number')
  end
  return number
end

local seen, quiet, believed = argument(4), argument(5), argument(6)
local added, lease = argument(7), argument(9)
local again, began = argument(10), argument(11)

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local record = redis.call('HGET', ALARMS, name)
local told, since, last_on, tokens, until_, claimant = string.match(
  record or '', '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
told, since, last_on = tonumber(told or believed), tonumber(since or 0), tonumber(last_on or 0)
tokens, until_, claimant = tonumber(tokens or 0), tonumber(until_ or 0), claimant or ''
if not record and told == 1 then
  since, last_on = now - began, now
end
local told_tokens, told_at = 0, now
if again > 0 and told == 1 then
  local last_told = redis.call('HGET', ALARMS, name .. ':told') or ''
  local tokens_then, at = string.match(last_told, '^(%d+)|(%d+)$')
  told_tokens, told_at = tonumber(tokens_then or tokens), math.min(tonumber(at or now), now)
  local noted = string.format('%.0f|%.0f', told_tokens, told_at)
  if noted ~= last_told then
    redis.call('HSET', ALARMS, name .. ':told', noted)
  end
end

if seen >= 0 then
  last_on = math.max(last_on, now - seen)
end
-- A clock that was set back must not keep it on, nor keep everybody from posting: no claim lasts
-- longer than `lease`, and no pause that alarm_posted.lua notes.
since, last_on = math.min(since, now), math.min(last_on, now)
until_ = math.min(until_, now + math.max(lease, PAUSE_AT_MOST))
local wanted = told
if seen ~= -2 then
  wanted = (seen == 0 or now - last_on < quiet) and 1 or 0
end
tokens = tokens + added
if wanted == 1 and since == 0 then
  since = now
elseif wanted == 0 and told == 0 and until_ <= now then
  since, tokens = 0, 0
end

local post, wait = -1, 0
local goes_on = wanted == 1 and told == 1 and again > 0
if wanted ~= told or (goes_on and tokens > told_tokens and now - told_at >= again) then
  if until_ <= now or claimant == caller then
    post, until_, claimant = wanted, now + lease, caller
  else
    wait = until_ - now
  end
elseif wanted == 1 and seen < 0 and quiet > 0 then
  wait = math.max(0, last_on + quiet - now)
end

local changed = string.format(
  '%.0f|%.0f|%.0f|%.0f|%.0f|%s', told, since, last_on, tokens, until_, claimant)
if changed ~= record then
  redis.call('HSET', ALARMS, name, changed)
end
return {
  told, post, wait, string.format('%.0f', since), string.format('%.0f', now), tokens, told_tokens,
}
