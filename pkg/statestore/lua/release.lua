-- release.lua: hand jobs back at once; no attempt is spent (I5).
-- KEYS[1] lease  KEYS[2] back
-- ARGV per lease: index, entry ID, fence
-- Returns {code...}: 1 released, -1 fenced (a repeat after a lost reply is fenced too, and harmless).
-- Atomic. Repeatable. Holds I1.
local out, now = {}, now_ms()
for a = 1, #ARGV, 3 do
  local index, id, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if redis.call('HGET', KEYS[1], index) == fence then
    local token, attempt = string.match(fence, '^(%d+)|(%d+)|')
    if redis.call('HEXISTS', KEYS[1], 'x' .. index) == 0 then
      attempt = attempt - 1
    end
    redis.call('HSET', KEYS[1], index, token .. '|' .. attempt .. '|-')
    redis.call('RPUSH', KEYS[2], id .. ' ' .. index .. ' ' .. now)
    out[#out + 1] = 1
  else
    out[#out + 1] = -1
  end
end
return out
