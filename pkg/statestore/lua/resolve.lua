-- resolve.lua: record the user's answer for a call whose effect is unknown.
-- KEYS[1] failed  KEYS[2] effects
-- ARGV[1] index  ARGV[2] place of the call  ARGV[3] the outcome, '' to run the call again
-- Returns {1, how many questions of the job are open}, {0} if the job has not failed or has no such question.
-- Atomic. Repeatable: the second time the question is closed.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 or redis.call('HDEL', KEYS[2], 'a' .. ARGV[2]) == 0 then
  return {0}
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], 'i' .. ARGV[2])
else
  redis.call('HSET', KEYS[2], 'o' .. ARGV[2], ARGV[3])
end
local left = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if string.sub(field, 1, 1) == 'a' then
    left = left + 1
  end
end
return {1, left}
