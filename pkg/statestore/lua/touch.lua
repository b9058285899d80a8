-- touch.lua: write to a batch without changing it, so that a WAIT on the same connection covers a write.
-- Parts: keys, clock
-- Returns {phase, fed}; phase is '' if the batch is gone.
-- Atomic. Repeatable.
local phase, fed = unpack(redis.call('HMGET', k.meta, 'phase', 'fed'))
if not phase then
  return {'', 0}
end
redis.call('HSET', k.meta, 'touched', now_ms())
return {phase, fed}
