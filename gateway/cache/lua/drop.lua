-- End a lease, unless it is another's by now.
--
-- KEYS[1] lease  string: who fetches the entry
-- ARGV[1] who asks
-- Returns 1: it was the caller's, 0: it was not. Asked again: 0, and nothing changes.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
