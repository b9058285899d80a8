-- seal.lua: mark a batch as complete: all inputs are in.
-- Parts: arguments, keys, close
-- args: total
-- Returns {phase, fed}. Writes nothing unless the phase is OPEN and fed = total.
-- Atomic. Repeatable.
local phase, fed = unpack(redis.call('HMGET', k.meta, 'phase', 'fed'))
if not phase then
  return {'', 0}
end
fed = tonumber(fed)
if phase ~= 'OPEN' or fed ~= args.total then
  return {phase, fed}
end
redis.call('HSET', k.meta, 'phase', 'SEALED', 'total', fed)
return {close(k), fed}
