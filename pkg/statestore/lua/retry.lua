-- retry.lua: queue failed jobs again and take their results back.
-- Parts: arguments, keys, clock, lease, job, lifetime
-- args: indexes
-- Returns {phase, queued}. Writes nothing unless the phase is SEALED or DONE. If the batch is the plan stage of a batch that ended
-- because its plan failed, that batch is open again.
-- Atomic. Repeatable: a queued job is no longer failed.
local phase, total, plan_stage, whole = unpack(redis.call('HMGET', k.meta, 'phase', 'total', 'planner', 'of'))
if not phase then
  return {'', 0}
end
if phase ~= 'SEALED' and phase ~= 'DONE' then
  return {phase, 0}
end
local queued = 0
for _, index in ipairs(args.indexes) do
  local value = redis.call('HGET', k.failed, index)
  if value then
    if queued == 0 then
      make_queue(k.jobs) -- it was deleted if the batch is done
    end
    local seq, payload = string.match(value, '^(%d+) (.*)$')
    redis.call('XDEL', k.results, seq .. '-0')
    redis.call('SETBIT', k.finished, index, 0)
    redis.call('HDEL', k.failed, index)
    redis.call('HINCRBY', k.meta, 'failed', -1)
    -- The next claim of the job reads its journal, if one was kept. The journal must not expire while the job waits or runs.
    redis.call('PERSIST', journal_key(k, index))
    redis.call('PERSIST', effects_key(k, index))
    redis.call('HSET', k.lease, index, lease_text(0, 0, '-'))
    -- Fed jobs have the IDs 1-0 to <total>-0.
    local n = redis.call('HINCRBY', k.meta, 'requeued', 1)
    queue_job(k.jobs, total .. '-' .. n, index, payload, now_ms())
    queued = queued + 1
  end
end
if queued > 0 and phase == 'DONE' then
  phase = 'SEALED'
  redis.call('HSET', k.meta, 'phase', phase, 'pulse', now_ms())
  redis.call('HDEL', k.meta, 'done')
  persist(k)
  if plan_stage then
    persist(keys(plan_stage))
  end
end
local w = whole and keys(whole)
if queued > 0 and w and redis.call('HGET', w.meta, 'unplanned') then
  redis.call('HSET', w.meta, 'phase', 'OPEN', 'fed', 0, 'total', -1)
  redis.call('HDEL', w.meta, 'done', 'unplanned')
  make_queue(w.jobs)
  persist(w)
end
return {phase, queued}
