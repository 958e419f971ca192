-- Read the usage of some hours. It stands alone: nothing is changed, so nothing has to be due first.
--
-- KEYS[1] and on: the hours' hashes, see KEYS[9] in keys.lua
-- A gateway asks for two at a time, and count_usage keeps each below its USAGE_FIELDS.
-- Returns for each a flat list of its fields and numbers, empty where nothing was counted.

local hours = {}
for i, key in ipairs(KEYS) do
  hours[i] = redis.call('HGETALL', key)
end
return hours
