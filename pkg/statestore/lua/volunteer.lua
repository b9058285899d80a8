-- volunteer.lua: decide whether this busy worker frees itself for jobs that must run alone. One worker per batch does.
-- Parts: arguments, keys, clock
-- args: consumer; lease, ms
-- Returns 1 yes, for two leases from the last call; 0 no such job waits, or another worker frees itself.
-- Atomic. Repeatable.
local phase, volunteer, ends = unpack(redis.call('HMGET', k.meta, 'phase', 'volunteer', 'volunteer_till'))
if redis.call('LLEN', k.alone) == 0 or phase == 'CANCELLING' then
  return 0 -- a cancelled job does not run, so any worker may claim it
end
local now = now_ms()
if volunteer and volunteer ~= args.consumer and now < tonumber(ends) then
  return 0
end
redis.call('HSET', k.meta, 'volunteer', args.consumer, 'volunteer_till', now + 2 * args.lease)
return 1
