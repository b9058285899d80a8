-- bind.lua: bind a batch to the first model that answered for it.
-- KEYS[1] meta
-- ARGV[1] model  ARGV[2] 1: the batch may use any model
-- Returns the model that the batch is bound to; '' if the batch is gone. Field models lists the models used, one a line, at most 16.
-- Atomic. Repeatable.
local phase, bound, models = unpack(redis.call('HMGET', KEYS[1], 'phase', 'model', 'models'))
if not phase then
  return ''
end
if not bound then
  bound = ARGV[1]
  redis.call('HSET', KEYS[1], 'model', bound)
end
if bound ~= ARGV[1] and ARGV[2] ~= '1' then
  return bound
end
local n = 0
for model in string.gmatch(models or '', '[^\n]+') do
  n = n + 1
  if model == ARGV[1] then
    return bound
  end
end
if n < 16 then
  redis.call('HSET', KEYS[1], 'models', (models and models .. '\n' or '') .. ARGV[1])
end
return bound
