-- The keys of an account's ledger, one hash tag (name_keys in scripts.py has the same order).
--
-- KEYS[1] ledger    hash: the balance and everything that is one per account, see ledger.lua
-- KEYS[2] holds     hash: id -> record, see holds.lua
-- KEYS[3] expiries  zset: id -> when the hold ends, microseconds
-- KEYS[4] starts    zset: id -> when the hold began, microseconds. Whose id is here is counted in held
--                   and in its service's tallies, see recount.lua
-- KEYS[5] services  hash: "<service>" -> record, see tallies.lua; "<service>|<reason>" -> calls refused
-- KEYS[6] queue     zset: places of waiting calls, see place.lua
-- KEYS[7] gateways  zset: name -> when it last asked for its waiting calls, microseconds
-- KEYS[8] markers   zset: id of a resolved call -> until when late copies are expected, see markers.lua
-- KEYS[9] usage     hash of one clock hour: "<service>|<endpoint>|<tokens, calls or refusals>" -> how
--                   many; "||lost" -> tokens lost to a full bucket
--
-- Times are microseconds of Redis' own clock, tokens whole numbers, flows millionths of a token.
-- Whatever lies in these keys, no script reads more of them than the bound beside each loop says; what
-- is beyond it is done by a later script, or counts as held (C15). What has no bound beside it is O(1),
-- or one element for each gateway.

return {
  ledger = KEYS[1], holds = KEYS[2], expiries = KEYS[3], starts = KEYS[4], services = KEYS[5],
  queue = KEYS[6], gateways = KEYS[7], markers = KEYS[8], usage = KEYS[9],
}
