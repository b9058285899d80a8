-- touch.lua: write to a batch and change nothing of it, so that a WAIT on the same connection has something to wait for.
-- KEYS[1] meta
-- Returns {phase, fed}; phase '' says that the batch is gone.
-- Atomic. Repeatable.
local phase, fed = unpack(redis.call('HMGET', KEYS[1], 'phase', 'fed'))
if not phase then
  return {'', 0}
end
redis.call('HSET', KEYS[1], 'touched', now_ms())
return {phase, fed}
