-- seal.lua: mark a batch as complete: all inputs are in.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs  KEYS[4] lease  KEYS[5] back  KEYS[6] results  KEYS[7] finished  KEYS[8] failed  KEYS[9] alone
-- KEYS[10] calls
-- ARGV[1] total
-- Returns {phase, fed}. Writes nothing unless the phase is OPEN and fed = total.
-- Atomic. Repeatable.
local phase, fed = unpack(redis.call('HMGET', KEYS[1], 'phase', 'fed'))
if not phase then
  return {'', 0}
end
fed = tonumber(fed)
if phase ~= 'OPEN' or fed ~= tonumber(ARGV[1]) then
  return {phase, fed}
end
redis.call('HSET', KEYS[1], 'phase', 'SEALED', 'total', fed)
phase = close({meta = KEYS[1], plan = KEYS[2], jobs = KEYS[3], lease = KEYS[4], back = KEYS[5], results = KEYS[6],
  finished = KEYS[7], failed = KEYS[8], alone = KEYS[9], calls = KEYS[10]})
return {phase, fed}
