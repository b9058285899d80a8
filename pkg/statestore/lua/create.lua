-- create.lua: create a batch in phase OPEN, once.
-- Parts: arguments, keys, clock, job
-- args: attempts, the most of a job; ttl, ms; needs, the key prefix of a batch that must exist: the reduce stage of a reduced
--   batch, or the batch of a plan stage, or ''; fields, more fields of meta with their values: budget and prices, see budget.lua;
--   the key prefixes of the plan stage (planner) and the reduce stage (reduce) of this batch, and of the batch that this one is a
--   stage of (of)
-- ARGV[2] header (JSON)  ARGV[3] compiled spec (JSON)
-- Returns 1 created, 0 already there (a repeat after a lost reply), -1 the batch that it needs is missing, for example after a
-- failover. A failover loses the latest writes, so a batch that survives it still has the batch that it needs.
-- Atomic. Repeatable.
if redis.call('EXISTS', k.meta) == 1 then
  return 0
end
if args.needs ~= '' and redis.call('EXISTS', args.needs .. 'meta') == 0 then
  return -1
end
local now = now_ms()
redis.call('HSET', k.meta, 'phase', 'OPEN', 'header', ARGV[2], 'maxa', args.attempts, 'ttl', args.ttl,
  'created', now, 'pulse', now, 'fed', 0, 'total', -1, 'ok', 0, 'failed', 0, 'cancelled', 0)
if #args.fields > 0 then
  redis.call('HSET', k.meta, unpack(args.fields))
end
redis.call('SET', k.plan, ARGV[3])
make_queue(k.jobs)
return 1
