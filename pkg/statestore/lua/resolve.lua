-- resolve.lua: record the user's answer for a call whose effect is unknown.
-- Parts: arguments, keys
-- args: index; call, its turn and number: <turn>.<call>
-- ARGV[2] the outcome, '' to run the call again
-- Returns {1, how many questions of the job are open}, {0} if the job has not failed or has no such question.
-- Atomic. Repeatable: the second time the question is closed.
local effects = effects_key(k, args.index)
if redis.call('HEXISTS', k.failed, args.index) == 0 or redis.call('HDEL', effects, 'a' .. args.call) == 0 then
  return {0}
end
if ARGV[2] == '' then
  redis.call('HDEL', effects, 'i' .. args.call)
else
  redis.call('HSET', effects, 'o' .. args.call, ARGV[2])
end
local left = 0
for _, field in ipairs(redis.call('HKEYS', effects)) do
  if string.sub(field, 1, 1) == 'a' then
    left = left + 1
  end
end
return {1, left}
