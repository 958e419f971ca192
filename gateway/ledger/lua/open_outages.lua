-- Return the outages of this store that are told and not ended; forget one that is.
--
-- KEYS[1] alarms  see alarm_seen.lua; of an outage the name begins with ARGV[3]
-- ARGV[3] what the names begin with
-- ARGV[4] the name to forget first; empty: none
-- Returns the names, unordered. At most some 200 fields are looked at; behind those that are ended
-- and forgotten come the others. Safe to run twice.

local ALARMS = KEYS[1]
local prefix, over = ARGV[3], ARGV[4]

if over ~= '' then
  redis.call('HDEL', ALARMS, over)
end
local names = {}
local fields = redis.call('HSCAN', ALARMS, '0', 'COUNT', '200')[2]
for at = 1, #fields, 2 do
  if string.sub(fields[at], 1, #prefix) == prefix then
    names[#names + 1] = fields[at]
  end
end
return names
