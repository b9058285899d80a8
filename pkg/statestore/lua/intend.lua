-- intend.lua: record that a call with side effects is about to run.
-- Parts: arguments, keys, lease
-- args: index; fence; call, its turn and number: <turn>.<call>
-- ARGV[2] the intent
-- Returns {1} recorded by this attempt, {0} recorded by an earlier attempt without an outcome, {0, outcome}, {-1} fenced.
-- Atomic. Repeatable: an intent of the same attempt counts as recorded by this attempt. Holds I1.
if fenced(args.index, args.fence) then
  return {-1}
end
local effects = effects_key(k, args.index)
local intent = redis.call('HGET', effects, 'i' .. args.call)
local mine = args.fence .. ' '
if not intent then
  redis.call('HSET', effects, 'i' .. args.call, mine .. ARGV[2])
  return {1}
end
local outcome = redis.call('HGET', effects, 'o' .. args.call)
if outcome then
  return {0, outcome}
end
return {string.sub(intent, 1, #mine) == mine and 1 or 0}
