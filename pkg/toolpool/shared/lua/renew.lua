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
-- It lapsed in an outage and nobody took it. A call that has ended must not get its lead back by a late message.
if not lead and redis.call('EXISTS', KEYS[2]) == 0 and redis.call('HGET', KEYS[3], '') ~= ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return -1
