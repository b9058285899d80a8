-- volunteer.lua: do jobs wait to run alone, and shall this busy worker make itself free for them? One of a batch does.
-- KEYS[1] meta  KEYS[2] alone
-- ARGV[1] consumer  ARGV[2] lease, ms
-- Returns 1 yes, for two leases unless it is asked again; 0 no job waits, or another worker makes itself free.
-- Atomic. Repeatable.
local phase, who, till = unpack(redis.call('HMGET', KEYS[1], 'phase', 'volunteer', 'volunteer_till'))
if redis.call('LLEN', KEYS[2]) == 0 or phase == 'CANCELLING' then
  return 0 -- what is cancelled does not run, so anybody may take it
end
local now = now_ms()
if who and who ~= ARGV[1] and now < tonumber(till) then
  return 0
end
redis.call('HSET', KEYS[1], 'volunteer', ARGV[1], 'volunteer_till', now + 2 * ARGV[2])
return 1
