-- finish.lua: commit the results of up to 64 jobs.
-- Parts: arguments, keys, clock, job, account, close
-- args: columns with a value for each job: index, entry (its ID), fence, status, journal (keep|drop|none, and with the effect log:
--   keepall|dropall), sums (the job's own part of the last eight sums, separated by spaces); totals, the sums over all jobs in the
--   order of counters below
-- ARGV[2..] the results (JSON) of the jobs, then, if the batch is a plan stage and its one job is ok, the payloads of the jobs of
-- the batch that it plans
-- Returns {phase, code...}: 1 committed, 0 the job already has a result, -1 fenced.
-- Atomic. Repeatable. Holds I1, I2: result, ack, counters, close and the jobs of a plan are one step.
--
-- A call from Lua costs more than most commands do. So the script reads and writes for all jobs at once where it can, straight from
-- the columns, and splits the sums only when some jobs do not commit.
local counters = {'ok', 'failed', 'cancelled', 'turns', 'prompt', 'cached', 'completion', 'context', 'asked', 'executed', 'estimated'}
local index, entry, fence, status = args.index, args.entry, args.fence, args.status
local n = #index
local out, all, mine, drop = {''}, true, {}, {}
local leases = n > 0 and redis.call('HMGET', k.lease, unpack(index)) or {}
local seq, exhausted, whole, ledger = unpack(redis.call('HMGET', k.meta, 'seq', 'exhausted', 'of', 'ledger'))
seq = tonumber(seq or 0)
for j = 1, n do
  local i = index[j]
  if leases[j] ~= fence[j] then
    out[1 + j] = redis.call('GETBIT', k.finished, i) == 1 and 0 or -1
    all = false
  else
    mine[#mine + 1] = j
    if redis.call('SETBIT', k.finished, i, 1) == 1 then
      out[1 + j] = 0
      all = false
    else
      seq = seq + 1
      redis.call('XADD', k.results, string.format('%d-0', seq), 'i', i, 's', status[j], 'r', ARGV[1 + j])
      if status[j] == 'failed' then
        -- retry needs the input again, and the result to take back.
        local e = redis.call('XRANGE', k.jobs, entry[j], entry[j])[1]
        local _, payload = job_of(e or {nil, {}})
        redis.call('HSET', k.failed, i, string.format('%d ', seq) .. (payload or ''))
      end
      local what = args.journal[j]
      if what == 'keep' or what == 'keepall' then
        local ttl = redis.call('HGET', k.meta, 'ttl')
        redis.call('PEXPIRE', journal_key(k, i), ttl)
        if what == 'keepall' then
          redis.call('PEXPIRE', effects_key(k, i), ttl)
        end
      elseif what == 'drop' or what == 'dropall' then
        drop[#drop + 1] = journal_key(k, i)
        if what == 'dropall' then
          drop[#drop + 1] = effects_key(k, i)
        end
      end
      out[1 + j] = 1
    end
  end
end

local totals = args.totals
if not all then
  totals = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for j = 1, n do
    if out[1 + j] == 1 then
      local c = status[j] == 'ok' and 1 or status[j] == 'failed' and 2 or 3
      totals[c] = totals[c] + 1
      c = 3
      for number in string.gmatch(args.sums[j], '%d+') do
        c = c + 1
        totals[c] = totals[c] + number
      end
    end
  end
end

if #mine > 0 then
  local ids, fields = {}, {}
  for _, j in ipairs(mine) do
    ids[#ids + 1] = entry[j]
    fields[#fields + 1] = index[j]
    if exhausted then
      fields[#fields + 1] = 'x' .. index[j]
    end
  end
  -- XACK before XDEL: some servers cannot acknowledge a deleted entry.
  redis.call('XACK', k.jobs, 'workers', unpack(ids))
  redis.call('XDEL', k.jobs, unpack(ids))
  redis.call('HDEL', k.lease, unpack(fields))
  redis.call('HSET', k.meta, 'seq', seq)
end
-- From here on the results hold the usage that the account counted for their jobs.
if ledger then
  local account = parse_account(ledger)
  for _, j in ipairs(mine) do
    local part, used = parse_calls(index[j]), {}
    for number in string.gmatch(out[1 + j] == 1 and args.sums[j] or '', '%d+') do
      used[#used + 1] = tonumber(number)
    end
    for i = 1, 3 do
      account.pending[i] = math.max(0, account.pending[i] - math.min(part.used[i], used[1 + i] or 0))
    end
    for _, c in pairs(part.calls) do
      if c.live then
        reserve_call(account, c, -1)
      end
    end
    redis.call('HDEL', k.calls, index[j])
  end
  keep_account(account)
end
if #drop > 0 then
  redis.call('UNLINK', unpack(drop))
end
for c, field in ipairs(counters) do
  if totals[c] > 0 then
    redis.call('HINCRBY', k.meta, field, totals[c])
  end
end

-- add_planned_jobs adds the planned jobs to their batch and seals it. Without a plan the batch ends with no jobs and is not
-- reduced. A batch in another phase stays unchanged.
local function add_planned_jobs(planned)
  local w = keys(whole)
  local phase, plan_stage = unpack(redis.call('HMGET', w.meta, 'phase', 'planner'))
  if phase ~= 'OPEN' or plan_stage ~= k.prefix then
    return
  end
  if planned then
    local now = now_ms()
    local total = queue_jobs(w.jobs, 0, #ARGV - 1 - n, 2 + n, nil, nil, 0, now)
    redis.call('HSET', w.meta, 'phase', 'SEALED', 'fed', total, 'total', total, 'pulse', now)
  else
    redis.call('HSET', w.meta, 'phase', 'CANCELLING', 'fed', 0, 'total', 0, 'unplanned', 1)
  end
  close(w)
end

if whole and out[2] == 1 then
  add_planned_jobs(status[1] == 'ok')
end
out[1] = close(k) or ''
return out
