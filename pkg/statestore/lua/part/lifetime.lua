-- lifetime.lua: the keys that a batch keeps after it is done, for its TTL.

local function kept(b)
  return {b.meta, b.plan, b.results, b.finished, b.failed}
end

-- expire gives the keys of a finished batch its TTL.
local function expire(b, ttl)
  for _, key in ipairs(kept(b)) do
    redis.call('PEXPIRE', key, ttl)
  end
end

-- persist takes the TTL back.
local function persist(b)
  for _, key in ipairs(kept(b)) do
    redis.call('PERSIST', key)
  end
end
