-- Let a lease begin anew, unless it is another's by now.
--
-- KEYS[1] lease  string: who fetches the entry
-- ARGV[1] who asks
-- ARGV[2] ms that it lasts from now on
-- Returns 1: it is the caller's, 0: it is not. Asked again: the same.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
