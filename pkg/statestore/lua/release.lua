-- release.lua: give leases back at once; no attempt is counted (I5).
-- KEYS[1] lease  KEYS[2] back  KEYS[3] meta  KEYS[4] calls
-- ARGV per lease: index, entry ID, fence
-- Returns {code...}: 1 released, -1 fenced (a repeat after a lost reply is fenced too, and harmless).
-- Atomic. Repeatable. Holds I1.
local out, now = {}, now_ms()
local ledger = redis.call('HGET', KEYS[3], 'ledger')
local l, freed = ledger_of(ledger), false
for a = 1, #ARGV, 3 do
  local index, id, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if redis.call('HGET', KEYS[1], index) == fence then
    local token, attempt = string.match(fence, '^(%d+)|(%d+)|')
    if redis.call('HEXISTS', KEYS[1], 'x' .. index) == 0 then
      attempt = attempt - 1
    end
    redis.call('HSET', KEYS[1], index, token .. '|' .. attempt .. '|-')
    redis.call('RPUSH', KEYS[2], id .. ' ' .. index .. ' ' .. now)
    freed = ledger and lapse(l, KEYS[4], index) or freed
    out[#out + 1] = 1
  else
    out[#out + 1] = -1
  end
end
if freed then
  keep_ledger(KEYS[3], l)
end
return out
