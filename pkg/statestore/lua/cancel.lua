-- cancel.lua: start to give every job without a result a cancelled one.
-- Parts: keys, close
-- Returns the phase; '' if the batch is gone. An open batch is sealed with the jobs fed so far.
-- Atomic. Repeatable. The next claims of the jobs commit the results.
local phase, fed = unpack(redis.call('HMGET', k.meta, 'phase', 'fed'))
if not phase then
  return ''
end
if phase == 'OPEN' then
  redis.call('HSET', k.meta, 'total', fed)
end
if phase == 'OPEN' or phase == 'SEALED' then
  redis.call('HSET', k.meta, 'phase', 'CANCELLING')
end
return close(k)
