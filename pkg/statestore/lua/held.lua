-- held.lua: list the jobs that a consumer holds. The store calls it after a claim whose reply was lost.
-- Parts: arguments, keys, lease, job
-- args: consumer; limit
-- Returns {{index, entry ID, token, attempt}...}.
-- Atomic. Read-only; XREADGROUP with ID 0 would count a delivery of running jobs.
local out, from = {}, '-'
while #out < args.limit do
  local pending = redis.pcall('XPENDING', k.jobs, 'workers', from, '+', 100, args.consumer)
  if pending.err or #pending == 0 then
    break
  end
  for _, p in ipairs(pending) do
    local entry = redis.call('XRANGE', k.jobs, p[1], p[1])[1]
    if entry and #out < args.limit then
      local index = job_of(entry)
      -- A released job stays in the PEL with its last consumer until its next claim.
      local token, attempt, holder = parse_lease(redis.call('HGET', k.lease, index))
      if holder == args.consumer then
        out[#out + 1] = {index, p[1], token, attempt}
      end
    end
  end
  local ms, seq = string.match(pending[#pending][1], '^(%d+)-(%d+)$')
  from = ms .. '-' .. (seq + 1)
end
return out
