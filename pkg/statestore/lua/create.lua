-- create.lua: make a batch in phase OPEN, once.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs
-- ARGV[1] header (JSON)  ARGV[2] plan (JSON)  ARGV[3] max attempts  ARGV[4] TTL, ms
-- ARGV[5] key prefix of the batch that has to be there before: the reducer of one that is reduced, the batch of a planner; '' if none
-- ARGV[6..] more fields of meta with their values: budget and prices, see spent in prelude.lua; the key prefixes of the batches that
-- plan and reduce this one (planner, reduce), and of the one that this is a stage of (of)
-- Returns 1 created, 0 was there already (a repeat after a lost reply), -1 the other one is missing: a failover may have forgotten it
-- since. A failover forgets what came last, so none of those that are there has lost what it needs.
-- Atomic. Repeatable.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
if ARGV[5] ~= '' and redis.call('EXISTS', ARGV[5] .. 'meta') == 0 then
  return -1
end
local now = now_ms()
redis.call('HSET', KEYS[1], 'phase', 'OPEN', 'header', ARGV[1], 'maxa', ARGV[3], 'ttl', ARGV[4],
  'created', now, 'pulse', now, 'fed', 0, 'total', -1, 'ok', 0, 'failed', 0, 'cancelled', 0)
if #ARGV > 5 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 6))
end
redis.call('SET', KEYS[2], ARGV[2])
redis.pcall('XGROUP', 'CREATE', KEYS[3], 'workers', '0', 'MKSTREAM')
return 1
