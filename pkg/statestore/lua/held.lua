-- held.lua: list the jobs that a consumer holds. The store calls it after a claim whose reply was lost.
-- KEYS[1] jobs  KEYS[2] lease
-- ARGV[1] consumer  ARGV[2] limit
-- Returns {{index, entry ID, token, attempt}...}.
-- Atomic. Read-only; XREADGROUP with ID 0 would count a delivery of running jobs.
local out, limit, from = {}, tonumber(ARGV[2]), '-'
while #out < limit do
  local pending = redis.pcall('XPENDING', KEYS[1], 'workers', from, '+', 100, ARGV[1])
  if pending.err or #pending == 0 then
    break
  end
  for _, p in ipairs(pending) do
    local entry = redis.call('XRANGE', KEYS[1], p[1], p[1])[1]
    if entry and #out < limit then
      local index = entry[2][2]
      -- A released job stays in the PEL with its last consumer until its next claim.
      local token, attempt, holder = string.match(redis.call('HGET', KEYS[2], index) or '', '^(%d+)|(%d+)|(.*)$')
      if holder == ARGV[1] then
        out[#out + 1] = {index, p[1], token, attempt}
      end
    end
  end
  local ms, seq = string.match(pending[#pending][1], '^(%d+)-(%d+)$')
  from = ms .. '-' .. (seq + 1)
end
return out
