-- feed.lua: add a chunk of jobs; what was added before is skipped.
-- KEYS[1] meta  KEYS[2] jobs
-- ARGV[1] index of the first payload  ARGV[2..] payloads
-- Returns {phase, fed}. Nothing is written unless the phase is OPEN. fed < ARGV[1] tells a gap.
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
-- A number that Redis has to format costs as much as the rest of the call; the ID of one job is the index of the next.
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
