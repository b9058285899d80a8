-- clock.lua: the time comes from Redis alone. A number that a script concatenates has at most 14 digits.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
