-- renew.lua: extend leases.
-- KEYS[1] meta  KEYS[2] jobs  KEYS[3] lease
-- ARGV[1] consumer  ARGV[2] lease, ms  then per lease: index, entry ID, fence
-- Returns {phase, code...}: 1 renewed, -1 fenced.
-- Atomic. Repeatable. Holds I1: a blind XCLAIM by a former holder would steal the job back.
local phase = redis.call('HGET', KEYS[1], 'phase') or ''
local out, ids = {phase}, {}
for a = 3, #ARGV, 3 do
  if redis.call('HGET', KEYS[3], ARGV[a]) == ARGV[a + 2] then
    ids[#ids + 1] = ARGV[a + 1]
    out[#out + 1] = 1
  else
    out[#out + 1] = -1
  end
end
if phase ~= '' then
  pulse(KEYS[1], now_ms(), tonumber(ARGV[2]))
end
if #ids > 0 then
  ids[#ids + 1] = 'IDLE'
  ids[#ids + 1] = 0
  ids[#ids + 1] = 'JUSTID'
  redis.call('XCLAIM', KEYS[2], 'workers', ARGV[1], 0, unpack(ids))
end
return out
