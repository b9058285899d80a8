-- intend.lua: record that a call with side effects is about to run.
-- KEYS[1] lease  KEYS[2] effects
-- ARGV[1] index  ARGV[2] fence  ARGV[3] place of the call: <turn>.<call>  ARGV[4] the intent
-- Returns {1} recorded by this attempt, {0} recorded by an earlier attempt without an outcome, {0, outcome}, {-1} fenced.
-- Atomic. Repeatable: an intent of the same attempt counts as recorded by this attempt. Holds I1.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return {-1}
end
local intent = redis.call('HGET', KEYS[2], 'i' .. ARGV[3])
local mine = ARGV[2] .. ' '
if not intent then
  redis.call('HSET', KEYS[2], 'i' .. ARGV[3], mine .. ARGV[4])
  return {1}
end
local outcome = redis.call('HGET', KEYS[2], 'o' .. ARGV[3])
if outcome then
  return {0, outcome}
end
return {string.sub(intent, 1, #mine) == mine and 1 or 0}
