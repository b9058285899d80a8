-- reduction.lua: the reduce stage of a batch is a batch with one job. It waits until the batch that it reduces is done.
-- Parts: keys, clock, job, unreserve, lifetime

-- clear deletes the one job of a reduce stage with the keys r, and its result. A worker that still runs the job is fenced.
local function clear(r)
  redis.call('UNLINK', r.jobs, r.lease, r.back, r.alone, r.finished, r.failed, journal_key(r, 0))
  redis.call('XTRIM', r.results, 'MAXLEN', 0)
  unreserve(r)
end

-- queue_reduction queues the job of the reduce stage with this key prefix, which reduces n results. If the job was queued
-- before, some results are new, and its own result is taken back. A cancelled stage stays cancelled. A skipped one runs.
local function queue_reduction(prefix, n)
  local r = keys(prefix)
  local phase, total, skipped = unpack(redis.call('HMGET', r.meta, 'phase', 'total', 'skipped'))
  if not phase or phase == 'CANCELLING' or (phase == 'DONE' and total == '0' and not skipped) then
    return
  end
  clear(r)
  make_queue(r.jobs)
  queue_job(r.jobs, '1-0', '0', string.format('{"reduce":{"n":%d}}', n), now_ms())
  redis.call('HSET', r.meta, 'phase', 'SEALED', 'fed', 1, 'total', 1, 'ok', 0, 'failed', 0, 'cancelled', 0, 'pulse', now_ms())
  redis.call('HDEL', r.meta, 'done', 'cursor', 'swept', 'skipped')
  persist(r)
end

-- skip_reduction ends the reduce stage with this key prefix, because the batch that it reduces was cancelled. A waiting stage
-- would wait without end. A running one reads results that were retried since. A stage that is done keeps its result.
local function skip_reduction(prefix)
  local r = keys(prefix)
  local phase, ttl = unpack(redis.call('HMGET', r.meta, 'phase', 'ttl'))
  if not phase or phase == 'DONE' then
    return
  end
  clear(r)
  redis.call('HSET', r.meta, 'phase', 'DONE', 'done', now_ms(), 'fed', 0, 'total', 0)
  if phase ~= 'CANCELLING' then
    redis.call('HSET', r.meta, 'skipped', 1)
  end
  expire(r, ttl)
end
