-- close.lua: the end of a batch.
-- Parts: keys, clock, unreserve, lifetime, reduction

-- close ends the batch with the keys b if it is sealed and every job has a result. It deletes the keys that only running jobs
-- need. The other keys expire after the batch's TTL, together with those of its plan stage. Returns the phase.
local function close(b)
  local phase, total, ok, failed, cancelled, ttl, plan_stage, reduce_stage, whole = unpack(redis.call('HMGET', b.meta, 'phase',
    'total', 'ok', 'failed', 'cancelled', 'ttl', 'planner', 'reduce', 'of'))
  if phase ~= 'SEALED' and phase ~= 'CANCELLING' then
    return phase
  end
  if tonumber(ok) + tonumber(failed) + tonumber(cancelled) < tonumber(total) then
    return phase
  end
  redis.call('HSET', b.meta, 'phase', 'DONE', 'done', now_ms())
  redis.call('UNLINK', b.jobs, b.lease, b.back, b.alone, b.parked)
  unreserve(b)
  local w = whole and redis.call('HMGET', whole .. 'meta', 'phase', 'planner') or {}
  local plans_open_batch = w[1] and w[1] ~= 'DONE' and w[2] == b.prefix
  if not plans_open_batch then
    expire(b, ttl)
  end
  if plan_stage then
    expire(keys(plan_stage), ttl)
  end
  if reduce_stage and phase == 'SEALED' then
    queue_reduction(reduce_stage, tonumber(total))
  elseif reduce_stage then
    skip_reduction(reduce_stage)
  end
  return 'DONE'
end
