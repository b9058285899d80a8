-- finish.lua: commit the results of up to 64 jobs.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs  KEYS[4] lease  KEYS[5] back  KEYS[6] results  KEYS[7] finished  KEYS[8] failed  KEYS[9] alone
-- KEYS[10] calls
-- ARGV[1] journal key prefix  ARGV[2..11] sums over all jobs, for the counters: ok, failed, cancelled, turns, prompt tokens,
-- cached tokens, completion tokens, context tokens, tools asked, tools executed
-- ARGV[12] number of jobs with estimated usage  ARGV[13] the number n of jobs
-- then n of each: index, entry ID, fence, status, journal (keep|drop|none, and with the ledger of effects:
-- keepall|dropall), result (JSON), and the job's own part of the last eight sums, separated by spaces
-- then, if the batch is a planner and its one job is ok, the payloads of the jobs of the batch that it plans
-- Returns {phase, code...}: 1 committed, 0 the job already has a result, -1 fenced.
-- Atomic. Repeatable. Holds I1, I2: result, ack, counters, close and the jobs of a plan are one step.
--
-- A call from Lua costs more than most commands do, and a string costs its bytes on its way in. So the script reads and writes for all
-- jobs at once where it can, straight from ARGV, and splits the sums only when some jobs do not commit.
local journal, n = ARGV[1], tonumber(ARGV[13])
local index, entry, fence, status, keep, line, part = 13, 13 + n, 13 + 2 * n, 13 + 3 * n, 13 + 4 * n, 13 + 5 * n, 13 + 6 * n
local counters = {'ok', 'failed', 'cancelled', 'turns', 'prompt', 'cached', 'completion', 'context', 'asked', 'executed', 'estimated'}
local out, all, mine, drop = {''}, true, {}, {}
local held = n > 0 and redis.call('HMGET', KEYS[4], unpack(ARGV, index + 1, index + n)) or {}
local seq, exhausted, of, ledger = unpack(redis.call('HMGET', KEYS[1], 'seq', 'exhausted', 'of', 'ledger'))
seq = tonumber(seq or 0)
for j = 1, n do
  local i = ARGV[index + j]
  if held[j] ~= ARGV[fence + j] then
    out[#out + 1] = redis.call('GETBIT', KEYS[7], i) == 1 and 0 or -1
    all = false
  else
    mine[#mine + 1] = j
    if redis.call('SETBIT', KEYS[7], i, 1) == 1 then
      out[#out + 1] = 0
      all = false
    else
      seq = seq + 1
      redis.call('XADD', KEYS[6], string.format('%d-0', seq), 'i', i, 's', ARGV[status + j], 'r', ARGV[line + j])
      if ARGV[status + j] == 'failed' then
        -- retry needs the input again, and the result to take back.
        local id = ARGV[entry + j]
        local e = redis.call('XRANGE', KEYS[3], id, id)[1]
        redis.call('HSET', KEYS[8], i, string.format('%d ', seq) .. (e and e[2][4] or ''))
      end
      local what = ARGV[keep + j]
      if what == 'keep' or what == 'keepall' then
        local ttl = redis.call('HGET', KEYS[1], 'ttl')
        redis.call('PEXPIRE', journal .. i, ttl)
        if what == 'keepall' then
          redis.call('PEXPIRE', journal .. i .. ':fx', ttl)
        end
      elseif what == 'drop' or what == 'dropall' then
        drop[#drop + 1] = journal .. i
        if what == 'dropall' then
          drop[#drop + 1] = journal .. i .. ':fx'
        end
      end
      out[#out + 1] = 1
    end
  end
end

local sums = {}
if all then
  for c = 1, 11 do
    sums[c] = tonumber(ARGV[1 + c])
  end
else
  sums = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for j = 1, n do
    if out[1 + j] == 1 then
      local s = ARGV[status + j]
      local c = s == 'ok' and 1 or s == 'failed' and 2 or 3
      sums[c] = sums[c] + 1
      c = 3
      for number in string.gmatch(ARGV[part + j], '%d+') do
        c = c + 1
        sums[c] = sums[c] + number
      end
    end
  end
end

if #mine > 0 then
  local ids, indexes = {}, {}
  for _, j in ipairs(mine) do
    ids[#ids + 1] = ARGV[entry + j]
    indexes[#indexes + 1] = ARGV[index + j]
    if exhausted then
      indexes[#indexes + 1] = 'x' .. ARGV[index + j]
    end
  end
  -- XACK before XDEL: some servers cannot acknowledge a deleted entry.
  redis.call('XACK', KEYS[3], 'workers', unpack(ids))
  redis.call('XDEL', KEYS[3], unpack(ids))
  redis.call('HDEL', KEYS[4], unpack(indexes))
  redis.call('HSET', KEYS[1], 'seq', seq)
end
-- From here on the results hold the usage that the ledger counted for their jobs.
if ledger then
  local l = ledger_of(ledger)
  for _, j in ipairs(mine) do
    local r, used = calls_of(KEYS[10], ARGV[index + j]), {}
    for number in string.gmatch(out[1 + j] == 1 and ARGV[part + j] or '', '%d+') do
      used[#used + 1] = tonumber(number)
    end
    for i = 1, 3 do
      l[8 + i] = math.max(0, l[8 + i] - math.min(r.used[i], used[1 + i] or 0))
    end
    for _, c in pairs(r.calls) do
      if c.live then
        reserve_call(l, c, -1)
      end
    end
    redis.call('HDEL', KEYS[10], ARGV[index + j])
  end
  keep_ledger(KEYS[1], l)
end
if #drop > 0 then
  redis.call('UNLINK', unpack(drop))
end
for c, field in ipairs(counters) do
  if sums[c] > 0 then
    redis.call('HINCRBY', KEYS[1], field, sums[c])
  end
end

-- expand adds the planned jobs to their batch and seals it. Without a plan the batch ends with no jobs and is not reduced. A
-- batch in another phase stays unchanged.
local function expand(ok)
  local k = keys(of)
  local phase, planner = unpack(redis.call('HMGET', k.meta, 'phase', 'planner'))
  if phase ~= 'OPEN' or not planner or planner .. 'meta' ~= KEYS[1] then
    return
  end
  local first, total, now = 13 + 7 * n, 0, now_ms()
  if ok then
    total = #ARGV - first
    local at, since = '0', string.format('%d', now)
    for i = 1, total do
      local after = string.format('%d', i)
      redis.call('XADD', k.jobs, after .. '-0', 'i', at, 'p', ARGV[first + i], 't', since)
      at = after
    end
    redis.call('HSET', k.meta, 'phase', 'SEALED', 'fed', total, 'total', total, 'pulse', now)
  else
    redis.call('HSET', k.meta, 'phase', 'CANCELLING', 'fed', 0, 'total', 0, 'unplanned', 1)
  end
  close(k)
end

if of and out[2] == 1 then
  expand(ARGV[status + 1] == 'ok')
end
out[1] = close({meta = KEYS[1], plan = KEYS[2], jobs = KEYS[3], lease = KEYS[4], back = KEYS[5], results = KEYS[6],
  finished = KEYS[7], failed = KEYS[8], alone = KEYS[9], calls = KEYS[10]}) or ''
return out
