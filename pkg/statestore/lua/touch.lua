-- touch.lua: write to a batch without changing it, so that a WAIT on the same connection covers a write.
-- KEYS[1] meta
-- Returns {phase, fed}; phase is '' if the batch is gone.
-- Atomic. Repeatable.
local phase, fed = unpack(redis.call('HMGET', KEYS[1], 'phase', 'fed'))
if not phase then
  return {'', 0}
end
redis.call('HSET', KEYS[1], 'touched', now_ms())
return {phase, fed}
