-- create.lua: create a batch in phase OPEN, once.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs
-- ARGV[1] header (JSON)  ARGV[2] plan (JSON)  ARGV[3] max attempts  ARGV[4] TTL, ms
-- ARGV[5] key prefix of a batch that must exist: the reducer of a reduced batch, or the batch of a planner; '' if none
-- ARGV[6..] more fields of meta with their values: budget and prices, see spent in prelude.lua; the key prefixes of the batches that
-- plan (planner) and reduce (reduce) this one, and of the batch that this one is a stage of (of)
-- Returns 1 created, 0 already there (a repeat after a lost reply), -1 the batch of ARGV[5] is missing, for example after a failover.
-- A failover loses the latest writes, so a batch that survives it still has the batch that it needs.
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
