-- Units of time, and numbers as Redis reads them.

local MICRO = 1000000

-- Digits of whole numbers, as far as this run has asked for them: moments, mostly, and often the same.
local digits = {}

-- The digits of a whole number below 2^53. (Lua's `..` keeps 14 of them; '%.0f' takes twice as long,
-- and so does a number that is handed to redis.call.)
local function whole(number)
  local text = digits[number]
  if not text then
    text = string.format('%d', number)
    digits[number] = text
  end
  return text
end

return {
  MICRO = MICRO, MINUTE = 60 * MICRO, HOUR = 3600 * MICRO, DAY = 86400 * MICRO, whole = whole,
}
