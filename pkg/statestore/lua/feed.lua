-- feed.lua: add a chunk of jobs; skip those already added.
-- Parts: arguments, keys, clock, job
-- args: from, the position of the first payload; indexes of the payloads as text, missing if they are the positions; rests, their
-- fields g as text, missing if there are no groups
-- ARGV[2..] payloads
-- Returns {phase, fed}. Writes nothing unless the phase is OPEN. fed < from means that jobs are missing before the chunk.
-- Atomic. Repeatable: the job in position p has the entry ID <p+1>-0, and the counter moves in the same step.
local phase, fed = unpack(redis.call('HMGET', k.meta, 'phase', 'fed'))
if not phase then
  return {'', 0}
end
fed = tonumber(fed)
local from = args.from
if phase ~= 'OPEN' or from > fed then
  return {phase, fed}
end
local total = from + #ARGV - 1
if total > fed then
  fed = queue_jobs(k.jobs, fed, total, 2 - from, args.indexes, args.rests, from, now_ms())
  redis.call('HSET', k.meta, 'fed', fed)
  if args.rests then
    redis.call('HSET', k.meta, 'grouped', 1)
  end
end
return {phase, fed}
