-- prelude.lua: what every script shares. Go puts it in front of each of them.
-- Time comes from Redis alone; a number concatenated here stays below 2^53 and 14 digits.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- pulse notes that some worker is in touch with this batch, and returns the time before which no lapsed lease may be
-- taken over. When nobody was in touch for half a lease, Redis or the network was away: idle times in the PEL then
-- count time in which no holder could have renewed, so every holder gets one whole lease to come back.
local function pulse(meta, now, lease)
  local last, grace = unpack(redis.call('HMGET', meta, 'pulse', 'grace'))
  grace = tonumber(grace) or 0
  if last and now - tonumber(last) > lease / 2 then
    grace = now + lease
    redis.call('HSET', meta, 'pulse', now, 'grace', grace)
  else
    redis.call('HSET', meta, 'pulse', now)
  end
  return grace
end

-- account is what a batch has used, in tokens and in US dollars at its prices per million tokens; what it may use of both, 0 for
-- no bound; and the key prefixes of the batches that plan and reduce it.
local function account(meta)
  local m = redis.call('HMGET', meta, 'prompt', 'cached', 'completion', 'price_prompt', 'price_cached', 'price_completion',
    'cap_tokens', 'cap_usd', 'planner', 'reduce')
  for i = 1, 8 do
    m[i] = tonumber(m[i] or 0)
  end
  return m[1] + m[3], ((m[1] - m[2]) * m[4] + m[2] * m[5] + m[3] * m[6]) / 1000000, unpack(m, 7, 10)
end

-- spent says whether a batch has used up its budget, together with those that plan and reduce it, whose budget it is as well. of is
-- the key prefix of the batch that it is a stage of, if it is one. What a running job uses counts when it ends.
local function spent(meta, of)
  local tokens, usd, most, dearest, planner, reducer = account(of and of .. 'meta' or meta)
  if most == 0 and dearest == 0 then
    return false
  end
  for _, stage in ipairs({planner, reducer}) do
    if stage then
      local t, u = account(stage .. 'meta')
      tokens, usd = tokens + t, usd + u
    end
  end
  return most > 0 and tokens >= most or dearest > 0 and usd >= dearest
end

-- clear drops what there is of the one job of the batch whose keys begin with prefix. Whoever still runs it is fenced.
local function clear(prefix)
  redis.call('UNLINK', prefix .. 'jobs', prefix .. 'lease', prefix .. 'back', prefix .. 'alone', prefix .. 'finished',
    prefix .. 'failed', prefix .. 'journal:0')
  redis.call('XTRIM', prefix .. 'results', 'MAXLEN', 0)
end

-- reduce queues the one job of the batch whose keys begin with prefix, which reduces n results. If it was queued before, some
-- results are new, and its own result is taken back. One that was cancelled stays so; one that was only skipped does not.
local function reduce(prefix, n)
  local meta, jobs = prefix .. 'meta', prefix .. 'jobs'
  local phase, total, skipped = unpack(redis.call('HMGET', meta, 'phase', 'total', 'skipped'))
  if not phase or phase == 'CANCELLING' or (phase == 'DONE' and total == '0' and not skipped) then
    return
  end
  clear(prefix)
  redis.call('XGROUP', 'CREATE', jobs, 'workers', '0', 'MKSTREAM')
  redis.call('XADD', jobs, '1-0', 'i', '0', 'p', string.format('{"reduce":{"n":%d}}', n), 't', now_ms())
  redis.call('HSET', meta, 'phase', 'SEALED', 'fed', 1, 'total', 1, 'ok', 0, 'failed', 0, 'cancelled', 0, 'pulse', now_ms())
  redis.call('HDEL', meta, 'done', 'cursor', 'swept', 'skipped')
  for _, key in ipairs({'meta', 'plan', 'results'}) do
    redis.call('PERSIST', prefix .. key)
  end
end

-- expire lets a batch that is done end after its TTL.
local function expire(k, ttl)
  for _, key in ipairs({k.meta, k.plan, k.results, k.finished, k.failed}) do
    redis.call('PEXPIRE', key, ttl)
  end
end

-- keys are those of the batch whose keys begin with prefix, by name.
local function keys(prefix)
  local k = {}
  for _, name in ipairs({'meta', 'plan', 'jobs', 'lease', 'back', 'results', 'finished', 'failed', 'alone'}) do
    k[name] = prefix .. name
  end
  return k
end

-- skip ends the batch whose keys begin with prefix, because what it was to reduce was cancelled. One that waits would do so for ever,
-- and one that runs reads results of before, which were retried since. A result that it has stays.
local function skip(prefix)
  local k = keys(prefix)
  local phase, ttl = unpack(redis.call('HMGET', k.meta, 'phase', 'ttl'))
  if not phase or phase == 'DONE' then
    return
  end
  clear(prefix)
  redis.call('HSET', k.meta, 'phase', 'DONE', 'done', now_ms(), 'fed', 0, 'total', 0)
  if phase ~= 'CANCELLING' then
    redis.call('HSET', k.meta, 'skipped', 1)
  end
  expire(k, ttl)
end

-- close ends the batch if it is sealed and every job has a result. What only running jobs need is dropped; the rest
-- expires after the batch's TTL, and what planned it with it. k holds the keys by name. Returns the phase.
local function close(k)
  local phase, total, ok, failed, cancelled, ttl, reducer, planner, of = unpack(redis.call('HMGET', k.meta, 'phase', 'total', 'ok',
    'failed', 'cancelled', 'ttl', 'reduce', 'planner', 'of'))
  if phase ~= 'SEALED' and phase ~= 'CANCELLING' then
    return phase
  end
  if tonumber(ok) + tonumber(failed) + tonumber(cancelled) < tonumber(total) then
    return phase
  end
  redis.call('HSET', k.meta, 'phase', 'DONE', 'done', now_ms())
  redis.call('UNLINK', k.jobs, k.lease, k.back, k.alone)
  local whole = of and redis.call('HMGET', of .. 'meta', 'phase', 'planner') or {}
  if not (whole[1] and whole[1] ~= 'DONE' and whole[2] and whole[2] .. 'meta' == k.meta) then
    expire(k, ttl)
  end
  if planner then
    expire(keys(planner), ttl)
  end
  if reducer and phase == 'SEALED' then
    reduce(reducer, tonumber(total))
  elseif reducer then
    skip(reducer)
  end
  return 'DONE'
end
