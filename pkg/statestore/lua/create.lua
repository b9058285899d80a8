-- create.lua: make a batch in phase OPEN, once.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs
-- ARGV[1] header (JSON)  ARGV[2] plan (JSON)  ARGV[3] max attempts  ARGV[4] TTL, ms
-- ARGV[5] key prefix of the batch that reduces this one; '' if none does
-- ARGV[6..] fields and values of the budget and the prices, if there are any: see spent in prelude.lua
-- Returns 1 created, 0 was there already (a repeat after a lost reply).
-- Atomic. Repeatable.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local now = now_ms()
redis.call('HSET', KEYS[1], 'phase', 'OPEN', 'header', ARGV[1], 'maxa', ARGV[3], 'ttl', ARGV[4],
  'created', now, 'pulse', now, 'fed', 0, 'total', -1, 'ok', 0, 'failed', 0, 'cancelled', 0)
if #ARGV > 5 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 6))
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'reduce', ARGV[5])
end
redis.call('SET', KEYS[2], ARGV[2])
redis.pcall('XGROUP', 'CREATE', KEYS[3], 'workers', '0', 'MKSTREAM')
return 1
