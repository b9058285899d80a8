-- retry.lua: queue failed jobs again and take their results back.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs  KEYS[4] lease  KEYS[5] results  KEYS[6] finished  KEYS[7] failed
-- ARGV[1] journal key prefix  ARGV[2..] indexes
-- Returns {phase, queued}. Writes nothing unless the phase is SEALED or DONE. If the batch is the planner of a batch that ended because
-- its plan failed, that batch is open again.
-- Atomic. Repeatable: a queued job is no longer failed.
local phase, total, planner, of = unpack(redis.call('HMGET', KEYS[1], 'phase', 'total', 'planner', 'of'))
if not phase then
  return {'', 0}
end
if phase ~= 'SEALED' and phase ~= 'DONE' then
  return {phase, 0}
end
local queued = 0
for a = 2, #ARGV do
  local index = ARGV[a]
  local value = redis.call('HGET', KEYS[7], index)
  if value then
    if queued == 0 then
      -- The stream was deleted if the batch is done.
      redis.pcall('XGROUP', 'CREATE', KEYS[3], 'workers', '0', 'MKSTREAM')
    end
    local seq, payload = string.match(value, '^(%d+) (.*)$')
    redis.call('XDEL', KEYS[5], seq .. '-0')
    redis.call('SETBIT', KEYS[6], index, 0)
    redis.call('HDEL', KEYS[7], index)
    redis.call('HINCRBY', KEYS[1], 'failed', -1)
    -- The next claim of the job reads its journal, if one was kept. The journal must not expire while the job waits or runs.
    redis.call('PERSIST', ARGV[1] .. index)
    redis.call('PERSIST', ARGV[1] .. index .. ':fx')
    redis.call('HSET', KEYS[4], index, '0|0|-')
    -- Fed jobs have the IDs 1-0 to <total>-0.
    local n = redis.call('HINCRBY', KEYS[1], 'requeued', 1)
    redis.call('XADD', KEYS[3], total .. '-' .. n, 'i', index, 'p', payload, 't', now_ms())
    queued = queued + 1
  end
end
local function persist(k)
  for _, key in ipairs({k.meta, k.plan, k.results, k.finished, k.failed}) do
    redis.call('PERSIST', key)
  end
end
if queued > 0 and phase == 'DONE' then
  phase = 'SEALED'
  redis.call('HSET', KEYS[1], 'phase', phase, 'pulse', now_ms())
  redis.call('HDEL', KEYS[1], 'done')
  persist({meta = KEYS[1], plan = KEYS[2], results = KEYS[5], finished = KEYS[6], failed = KEYS[7]})
  if planner then
    persist(keys(planner))
  end
end
local whole = of and keys(of)
if queued > 0 and whole and redis.call('HGET', whole.meta, 'unplanned') then
  redis.call('HSET', whole.meta, 'phase', 'OPEN', 'fed', 0, 'total', -1)
  redis.call('HDEL', whole.meta, 'done', 'unplanned')
  redis.pcall('XGROUP', 'CREATE', whole.jobs, 'workers', '0', 'MKSTREAM')
  persist(whole)
end
return {phase, queued}
