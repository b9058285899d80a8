-- bind.lua: bind a batch to the first model that answered for it.
-- Parts: arguments, keys
-- args: model; any_model if the batch may use any
-- Returns the model that the batch is bound to; '' if the batch is gone. Field models lists the models used, one a line, at most 16.
-- Atomic. Repeatable.
local phase, bound, models = unpack(redis.call('HMGET', k.meta, 'phase', 'model', 'models'))
if not phase then
  return ''
end
if not bound then
  bound = args.model
  redis.call('HSET', k.meta, 'model', bound)
end
if bound ~= args.model and not args.any_model then
  return bound
end
local n = 0
for model in string.gmatch(models or '', '[^\n]+') do
  n = n + 1
  if model == args.model then
    return bound
  end
end
if n < 16 then
  redis.call('HSET', k.meta, 'models', (models and models .. '\n' or '') .. args.model)
end
return bound
