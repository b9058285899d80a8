-- renew.lua: keep the lead for another lease.
-- KEYS[1] lead  KEYS[2] value  KEYS[3] waiters
-- ARGV[1] token  ARGV[2] lease, ms
-- Returns 1 renewed, -1 fenced.
-- Atomic. Repeatable. Holds I1.
local lead = redis.call('GET', KEYS[1])
if lead == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
-- The lease expired in an outage and no process took the lead. A late renewal must not restore the lead of an ended call.
if not lead and redis.call('EXISTS', KEYS[2]) == 0 and redis.call('HGET', KEYS[3], '') ~= ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return -1
