-- held.lua: which jobs does this consumer hold? Asked after a claim whose reply was lost.
-- KEYS[1] jobs  KEYS[2] lease
-- ARGV[1] consumer  ARGV[2] at most so many
-- Returns {{index, entry ID, token, attempt}...}.
-- Atomic. Read-only; XREADGROUP with ID 0 would count a delivery for jobs that are running.
local out = {}
local pending = redis.pcall('XPENDING', KEYS[1], 'workers', '-', '+', ARGV[2], ARGV[1])
if pending.err then
  return out
end
for _, p in ipairs(pending) do
  local entry = redis.call('XRANGE', KEYS[1], p[1], p[1])[1]
  if entry then
    local index = entry[2][2]
    local token, attempt, holder = string.match(redis.call('HGET', KEYS[2], index) or '', '^(%d+)|(%d+)|(.*)$')
    if holder == ARGV[1] then
      out[#out + 1] = {index, p[1], token, attempt}
    end
  end
end
return out
