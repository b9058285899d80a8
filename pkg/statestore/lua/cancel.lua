-- cancel.lua: start to give every job without a result a cancelled one.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs  KEYS[4] lease  KEYS[5] back  KEYS[6] results  KEYS[7] finished  KEYS[8] failed  KEYS[9] alone
-- KEYS[10] calls
-- Returns the phase; '' if the batch is gone. An open batch is sealed with the jobs fed so far.
-- Atomic. Repeatable. The next claims of the jobs commit the results.
local phase, fed = unpack(redis.call('HMGET', KEYS[1], 'phase', 'fed'))
if not phase then
  return ''
end
if phase == 'OPEN' then
  redis.call('HSET', KEYS[1], 'total', fed)
end
if phase == 'OPEN' or phase == 'SEALED' then
  redis.call('HSET', KEYS[1], 'phase', 'CANCELLING')
end
return close({meta = KEYS[1], plan = KEYS[2], jobs = KEYS[3], lease = KEYS[4], back = KEYS[5], results = KEYS[6],
  finished = KEYS[7], failed = KEYS[8], alone = KEYS[9], calls = KEYS[10]})
