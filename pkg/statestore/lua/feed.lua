-- feed.lua: add a chunk of jobs; skip those already added.
-- KEYS[1] meta  KEYS[2] jobs
-- ARGV[1] place of the first payload  ARGV[2] the indexes of the payloads with a space after each; '' if they are the places
-- ARGV[3..] payloads
-- Returns {phase, fed}. Writes nothing unless the phase is OPEN. fed < ARGV[1] means that jobs are missing before the chunk.
-- Atomic. Repeatable: the job in place p has the entry ID <p+1>-0, and the counter moves in the same step.
local phase, fed = unpack(redis.call('HMGET', KEYS[1], 'phase', 'fed'))
if not phase then
  return {'', 0}
end
fed = tonumber(fed)
local from = tonumber(ARGV[1])
if phase ~= 'OPEN' or from > fed then
  return {phase, fed}
end
local last = from + #ARGV - 2
local indexes = {}
for index in string.gmatch(ARGV[2], '%d+') do
  indexes[#indexes + 1] = index
end
-- Formatting a number in Redis costs as much as the rest of the call. The ID of one job is the place of the next.
local place, now = string.format('%d', fed), string.format('%d', now_ms())
for p = fed, last - 1 do
  local after = string.format('%d', p + 1)
  redis.call('XADD', KEYS[2], after .. '-0', 'i', indexes[p - from + 1] or place, 'p', ARGV[p - from + 3], 't', now)
  place = after
end
if last > fed then
  redis.call('HSET', KEYS[1], 'fed', last)
  fed = last
end
return {phase, fed}
