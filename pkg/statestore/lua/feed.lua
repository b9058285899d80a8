-- feed.lua: add a chunk of jobs; skip those already added.
-- KEYS[1] meta  KEYS[2] jobs
-- ARGV[1] index of the first payload  ARGV[2..] payloads
-- Returns {phase, fed}. Writes nothing unless the phase is OPEN. fed < ARGV[1] means that jobs are missing before the chunk.
-- Atomic. Repeatable: job i has the entry ID <i+1>-0, and the counter moves in the same step.
local phase, fed = unpack(redis.call('HMGET', KEYS[1], 'phase', 'fed'))
if not phase then
  return {'', 0}
end
fed = tonumber(fed)
local from = tonumber(ARGV[1])
if phase ~= 'OPEN' or from > fed then
  return {phase, fed}
end
local last = from + #ARGV - 1
-- Formatting a number in Redis costs as much as the rest of the call. The ID of one job is the index of the next.
local index, now = string.format('%d', fed), string.format('%d', now_ms())
for i = fed, last - 1 do
  local after = string.format('%d', i + 1)
  redis.call('XADD', KEYS[2], after .. '-0', 'i', index, 'p', ARGV[i - from + 2], 't', now)
  index = after
end
if last > fed then
  redis.call('HSET', KEYS[1], 'fed', last)
  fed = last
end
return {phase, fed}
