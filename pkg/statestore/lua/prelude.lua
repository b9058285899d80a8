-- prelude.lua: functions that the scripts share. Go puts it in front of each script. Time comes from Redis alone. A number
-- concatenated here stays below 2^53 and 14 digits.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- pulse records that a worker reached this batch, and returns the time before which no expired lease may be taken over. If no
-- worker reached it for half a lease, Redis or the network was away. Idle times in the PEL then include time in which no holder
-- could renew, so every holder gets one whole lease to come back.
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

-- A batch's ledger counts the model calls of its jobs that no result contains yet. It is one field of meta, eleven integers:
-- calls in flight; their reserved prompt, cached and completion tokens; ended calls; the same three sums of their usage; and
-- the same three sums of usage that no result contains. A batch that never reserved has no ledger.
--
-- The hash calls holds each job's part: three integers for its usage that no result contains, then five words per call. These
-- are the call's name <token>.<number>, its three reserved numbers, and 1 while it is in flight. 0 marks a call that lost its
-- lease. Its reservation is free, and its usage still counts if its worker reports it.

-- ledger_of parses a ledger. A missing one is all zeros.
local function ledger_of(text)
  local l = {}
  for n in string.gmatch(text or '', '%d+') do
    l[#l + 1] = tonumber(n)
  end
  for i = #l + 1, 11 do
    l[i] = 0
  end
  return l
end

-- keep_ledger stores a ledger.
local function keep_ledger(meta, l)
  redis.call('HSET', meta, 'ledger', string.format('%d %d %d %d %d %d %d %d %d %d %d', unpack(l, 1, 11)))
end

-- calls_of reads a job's part of a ledger: its usage, its calls by name, and their names in order.
local function calls_of(key, index)
  local r, words = {used = {0, 0, 0}, calls = {}, names = {}}, {}
  for word in string.gmatch(redis.call('HGET', key, index) or '', '%S+') do
    words[#words + 1] = word
  end
  for i = 1, math.min(#words, 3) do
    r.used[i] = tonumber(words[i])
  end
  for i = 4, #words, 5 do
    r.names[#r.names + 1] = words[i]
    r.calls[words[i]] = {tonumber(words[i + 1]), tonumber(words[i + 2]), tonumber(words[i + 3]), live = words[i + 4] == '1'}
  end
  return r
end

-- keep_calls stores a job's part. It deletes an empty part.
local function keep_calls(key, index, r)
  local out = string.format('%d %d %d', unpack(r.used))
  local empty = r.used[1] + r.used[2] + r.used[3] == 0
  for _, name in ipairs(r.names) do
    local c = r.calls[name]
    if c then
      out = out .. string.format(' %s %d %d %d %d', name, c[1], c[2], c[3], c.live and 1 or 0)
      empty = false
    end
  end
  if empty then
    redis.call('HDEL', key, index)
  else
    redis.call('HSET', key, index, out)
  end
end

-- reserve_call adds a call in flight to the ledger (by = 1) or removes it (by = -1).
local function reserve_call(l, c, by)
  l[1] = math.max(0, l[1] + by)
  for i = 1, 3 do
    l[1 + i] = math.max(0, l[1 + i] + by * c[i])
  end
end

-- lapse frees the reservations of a job that lost its lease. Calls of the lease with token keep stay unchanged.
local function lapse(l, key, index, keep)
  local r, changed = calls_of(key, index), false
  for _, name in ipairs(r.names) do
    local c = r.calls[name]
    if c.live and string.match(name, '^%d+') ~= keep then
      reserve_call(l, c, -1)
      c.live, changed = false, true
    end
  end
  if changed then
    keep_calls(key, index, r)
  end
  return changed
end

-- account reads the used and reserved amounts of one batch without its stages: tokens, and US dollars at its prices per million
-- tokens. most and dearest are its limits of both; 0 is no limit. planner and reducer are the key prefixes of its stages. A
-- call in flight counts at least as much as an average call. The second result computes the cost of tokens at the batch's
-- prices.
local function account(meta)
  local m = redis.call('HMGET', meta, 'prompt', 'cached', 'completion', 'price_prompt', 'price_cached', 'price_completion',
    'cap_tokens', 'cap_usd', 'planner', 'reduce', 'ledger')
  for i = 1, 8 do
    m[i] = tonumber(m[i] or 0)
  end
  local l = ledger_of(m[11])
  local function cost(prompt, cached, completion)
    return ((prompt - cached) * m[4] + cached * m[5] + completion * m[6]) / 1000000
  end
  local prompt, cached, completion = m[1] + l[9], m[2] + l[10], m[3] + l[11]
  local a = {
    tokens = prompt + completion, usd = cost(prompt, cached, completion), open = l[1],
    reserved = l[2] + l[4], reserved_usd = cost(l[2], l[3], l[4]),
    most = m[7], dearest = m[8], planner = m[9], reducer = m[10],
  }
  if l[5] > 0 then
    local n = l[1] / l[5]
    a.reserved = math.max(a.reserved, n * (l[6] + l[8]))
    a.reserved_usd = math.max(a.reserved_usd, n * cost(l[6], l[7], l[8]))
  end
  return a, cost
end

-- standing adds up the account of a batch and its stages, which share its budget. of is the key prefix of the batch that this
-- one is a stage of, or nil. It returns nil for a batch without a budget.
local function standing(meta, of)
  local s = account(of and of .. 'meta' or meta)
  if s.most == 0 and s.dearest == 0 then
    return nil
  end
  for _, stage in ipairs({s.planner, s.reducer}) do
    if stage then
      local a = account(stage .. 'meta')
      for _, sum in ipairs({'tokens', 'usd', 'open', 'reserved', 'reserved_usd'}) do
        s[sum] = s[sum] + a[sum]
      end
    end
  end
  return s
end

-- spent reports whether the accounts s have used up their budget.
local function spent(s)
  return s.most > 0 and s.tokens >= s.most or s.dearest > 0 and s.usd >= s.dearest
end

-- estimate predicts the usage of a call: prompt, cached and completion tokens. prompt is the caller's estimate. most limits the
-- completion; 0 is no limit. The mean of the ended calls corrects both, with a margin that shrinks as their number grows.
local function estimate(l, prompt, most)
  if l[5] == 0 then
    return {prompt, 0, most > 0 and most or 4096}
  end
  local margin = (1.1 + 1 / l[5]) / l[5]
  local completion = math.ceil(l[8] * margin)
  if most > 0 then
    completion = math.min(completion, most)
  end
  prompt = math.max(prompt, math.ceil(l[6] * margin))
  return {prompt, l[6] > 0 and math.floor(prompt * l[7] / l[6]) or 0, completion}
end

-- fitting returns how many calls of such a size the budget has room for. While no call is in flight it is at least one, unless
-- the budget is used up: a call of unknown cost must not stop a batch.
local function fitting(s, tokens, usd)
  if spent(s) then
    return 0
  end
  local n = math.huge
  if s.most > 0 then
    n = math.min(n, (s.most - s.tokens - s.reserved) / math.max(tokens, 1))
  end
  if s.dearest > 0 and usd > 0 then
    n = math.min(n, (s.dearest - s.usd - s.reserved_usd) / usd)
  end
  return math.max(n == math.huge and n or math.floor(n), s.open == 0 and 1 or 0)
end

-- unreserve drops all reservations of a batch without running jobs. The used amounts stay.
local function unreserve(meta, calls)
  local text = redis.call('HGET', meta, 'ledger')
  if text then
    local l = ledger_of(text)
    l[1], l[2], l[3], l[4] = 0, 0, 0, 0
    keep_ledger(meta, l)
    redis.call('UNLINK', calls)
  end
end

-- clear deletes the one job of the batch with this key prefix, and its result. A worker that still runs the job is fenced.
local function clear(prefix)
  redis.call('UNLINK', prefix .. 'jobs', prefix .. 'lease', prefix .. 'back', prefix .. 'alone', prefix .. 'finished',
    prefix .. 'failed', prefix .. 'journal:0')
  redis.call('XTRIM', prefix .. 'results', 'MAXLEN', 0)
  unreserve(prefix .. 'meta', prefix .. 'calls')
end

-- reduce queues the one job of the reducer with this key prefix, which reduces n results. If the job was queued before, some
-- results are new, and its own result is taken back. A cancelled reducer stays cancelled. A skipped one runs.
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

-- expire gives the keys of a finished batch its TTL.
local function expire(k, ttl)
  for _, key in ipairs({k.meta, k.plan, k.results, k.finished, k.failed}) do
    redis.call('PEXPIRE', key, ttl)
  end
end

-- keys returns the keys of the batch with this key prefix, by name.
local function keys(prefix)
  local k = {}
  for _, name in ipairs({'meta', 'plan', 'jobs', 'lease', 'back', 'results', 'finished', 'failed', 'alone', 'calls'}) do
    k[name] = prefix .. name
  end
  return k
end

-- skip ends the reducer with this key prefix, because the batch that it reduces was cancelled. A waiting reducer would wait
-- without end. A running one reads results that were retried since. A reducer that is done keeps its result.
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

-- close ends the batch if it is sealed and every job has a result. It deletes the keys that only running jobs need. The other
-- keys expire after the batch's TTL, together with those of its planner. k holds the keys by name. Returns the phase.
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
  unreserve(k.meta, k.calls)
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
