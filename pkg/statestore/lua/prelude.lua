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

-- spent says whether a batch has used up its budget: tokens, or US dollars at prices per million tokens. What a running
-- job uses counts when it ends.
local function spent(meta)
  local m = redis.call('HMGET', meta, 'cap_tokens', 'cap_usd', 'prompt', 'cached', 'completion',
    'price_prompt', 'price_cached', 'price_completion')
  for i = 1, 8 do
    m[i] = tonumber(m[i] or 0)
  end
  local tokens, usd, prompt, cached, completion = unpack(m)
  local cost = ((prompt - cached) * m[6] + cached * m[7] + completion * m[8]) / 1000000
  return tokens > 0 and prompt + completion >= tokens or usd > 0 and cost >= usd
end

-- reduce queues the one job of the batch whose keys begin with prefix, which reduces n results. If it was queued before, some
-- results are new: its own result is taken back, and whoever still runs it is fenced. One that was cancelled stays so.
local function reduce(prefix, n)
  local meta, jobs = prefix .. 'meta', prefix .. 'jobs'
  local phase, total = unpack(redis.call('HMGET', meta, 'phase', 'total'))
  if not phase or phase == 'CANCELLING' or (phase == 'DONE' and total == '0') then
    return
  end
  redis.call('UNLINK', jobs, prefix .. 'lease', prefix .. 'back', prefix .. 'alone', prefix .. 'finished', prefix .. 'failed',
    prefix .. 'journal:0')
  redis.call('XTRIM', prefix .. 'results', 'MAXLEN', 0)
  redis.call('XGROUP', 'CREATE', jobs, 'workers', '0', 'MKSTREAM')
  redis.call('XADD', jobs, '1-0', 'i', '0', 'p', string.format('{"reduce":{"n":%d}}', n), 't', now_ms())
  redis.call('HSET', meta, 'phase', 'SEALED', 'fed', 1, 'total', 1, 'ok', 0, 'failed', 0, 'cancelled', 0, 'pulse', now_ms())
  redis.call('HDEL', meta, 'done', 'cursor', 'swept')
  for _, key in ipairs({'meta', 'plan', 'results'}) do
    redis.call('PERSIST', prefix .. key)
  end
end

-- close ends the batch if it is sealed and every job has a result. What only running jobs need is dropped; the rest
-- expires after the batch's TTL. k holds the keys by name. Returns the phase.
local function close(k)
  local phase, total, ok, failed, cancelled, ttl, reducer =
    unpack(redis.call('HMGET', k.meta, 'phase', 'total', 'ok', 'failed', 'cancelled', 'ttl', 'reduce'))
  if phase ~= 'SEALED' and phase ~= 'CANCELLING' then
    return phase
  end
  if tonumber(ok) + tonumber(failed) + tonumber(cancelled) < tonumber(total) then
    return phase
  end
  redis.call('HSET', k.meta, 'phase', 'DONE', 'done', now_ms())
  redis.call('UNLINK', k.jobs, k.lease, k.back, k.alone)
  for _, key in ipairs({k.meta, k.plan, k.results, k.finished, k.failed}) do
    redis.call('PEXPIRE', key, ttl)
  end
  if reducer and phase == 'SEALED' and tonumber(total) > 0 then
    reduce(reducer, tonumber(total))
  end
  return 'DONE'
end
