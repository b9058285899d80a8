-- volunteer.lua: decide whether this busy worker frees itself for jobs that must run alone. One worker per batch does.
-- KEYS[1] meta  KEYS[2] alone
-- ARGV[1] consumer  ARGV[2] lease, ms
-- Returns 1 yes, for two leases from the last call; 0 no such job waits, or another worker frees itself.
-- Atomic. Repeatable.
local phase, who, till = unpack(redis.call('HMGET', KEYS[1], 'phase', 'volunteer', 'volunteer_till'))
if redis.call('LLEN', KEYS[2]) == 0 or phase == 'CANCELLING' then
  return 0 -- a cancelled job does not run, so any worker may claim it
end
local now = now_ms()
if who and who ~= ARGV[1] and now < tonumber(till) then
  return 0
end
redis.call('HSET', KEYS[1], 'volunteer', ARGV[1], 'volunteer_till', now + 2 * ARGV[2])
return 1
