-- claim.lua: lease up to count jobs to a worker, in this order: released jobs, expired leases, parked jobs of dead workers, jobs parked
-- for this worker, new jobs, parked jobs of living workers. If it finds none and the caller runs no other job, it leases one job that
-- must run alone. It parks the rest of the group of the last new job.
-- Parts: arguments, keys, clock, pulse, lease, parked, job, account, budget
-- args: consumer; count, at least 1; lease, ms; idle if the caller runs no other job
-- Returns {phase, job...}; a job is {index, entry ID, token, attempt, exhausted, payload, {turn...}, alone, queued}.
-- phase is '' if the batch is gone. exhausted is 1 if the job has no attempts left: the worker must not run it, only finish it as
-- WorkerLost. alone is 1 if the job must run with no other job beside it. queued is how long the job waited without a lease, in ms,
-- since it was fed, released or retried; 0 after an expired lease.
-- A claim returns no more jobs than the batch's budget has room for. Without any room, it queues expired jobs as released ones.
-- Atomic. NOT repeatable: after an unknown outcome read held.lua before claiming again.
-- Holds I1 (a new token for every claim), I4, I5.
local phase, swept, cursor, attempts, capped, whole, ledger, grouped =
  unpack(redis.call('HMGET', k.meta, 'phase', 'swept', 'cursor', 'maxa', 'cap_tokens', 'of', 'ledger', 'grouped'))
if not phase then
  return {''}
end
local out = {phase}
if phase == 'DONE' then
  return out
end
local now, consumer, count, lease = now_ms(), args.consumer, args.count, args.lease
local grace = pulse(k.meta, now, lease)
attempts = tonumber(attempts)
local account, freed, open = parse_account(ledger), false, true
-- The range of the caller's own parked jobs. A claim is a sign of life.
local first, last
if grouped then
  first, last = parked_by(consumer)
  if first then
    keep_parked(consumer, first, last, now)
  end
end
if (capped or whole) and phase ~= 'CANCELLING' then
  local s = budget_of(k.meta, whole)
  if s then
    local _, cost = amounts(k.meta)
    local e = estimate(account, 0, 0)
    if account.ended == 0 then
      e = {0, 0, 0} -- no call has ended yet, so each call decides when it reserves
    end
    local n = fitting(s, e[1] + e[3], cost(unpack(e)))
    open = n > 0
    count = open and math.min(count, n) or count
  end
end

-- free drops the reservations of a job that lost its lease.
local function free(index)
  freed = ledger and lapse(account, index) or freed
end

-- take leases entries. old holds the previous lease of each, if any; since holds the time each was queued, as text. One HINCRBY
-- and one HSET serve all entries, because a call from Lua costs more than these commands do.
local none = {}
local function take(entries, old, since, alone)
  local token = redis.call('HINCRBY', k.meta, 'token', #entries) - #entries
  local leases = {}
  for n, entry in ipairs(entries) do
    local index, payload = job_of(entry)
    local attempt, exhausted, turns = 1, 0, none
    if old[n] then
      free(index)
      local _, last = parse_lease(old[n])
      attempt = last + 1
      turns = redis.call('LRANGE', journal_key(k, index), 0, -1)
    end
    if attempt > attempts then
      attempt, exhausted = attempts, 1
      -- No attempt starts, so a release of this lease gives none back.
      redis.call('HSET', k.lease, 'x' .. index, 1)
      redis.call('HSET', k.meta, 'exhausted', 1)
    end
    leases[2 * n - 1] = index
    leases[2 * n] = lease_text(token + n, attempt, consumer)
    out[#out + 1] = {index, entry[1], token + n, attempt, exhausted, payload, turns, alone or 0,
      math.max(0, now - (tonumber(since[n]) or now))}
  end
  redis.call('HSET', k.lease, unpack(leases))
  count = count - #entries
end

-- last_attempt reports whether a job has only one attempt left because its worker died in each of the others. The job may be what
-- kills them, and jobs beside it would lose an attempt with it.
local function last_attempt(old)
  local _, attempt = parse_lease(old)
  return attempts > 1 and phase ~= 'CANCELLING' and tonumber(attempt) == attempts - 1
end

-- aside keeps such a job for a worker that runs no other job. It leaves the PEL, so that sweeps skip it.
local function aside(id, index, old, since)
  free(index)
  local token, attempt = parse_lease(old)
  redis.call('XACK', k.jobs, 'workers', id)
  let_go(k.alone, id, index, token, attempt, since)
end

-- take_waiting leases jobs from a list, at most most of them.
local function take_waiting(list, most, alone)
  while most > 0 and count > 0 do
    local id, index, since = next_waiting(list)
    if not id then
      break
    end
    local old = redis.call('HGET', k.lease, index)
    if not old or held(old) then
      -- Another claim took the job over.
    elseif list == k.back and last_attempt(old) then
      aside(id, index, old, since)
    else
      local entries = redis.call('XCLAIM', k.jobs, 'workers', consumer, 0, id, 'FORCE')
      if entries[1] then
        take({entries[1]}, {old}, {since}, alone)
        most = most - 1
      end
    end
  end
end

-- put_back queues an expired job that the budget has no room for. Its attempt counts.
local function put_back(id, index, old)
  free(index)
  local token, attempt = parse_lease(old)
  let_go(k.back, id, index, token, attempt, now)
end

-- take_unleased leases entries that are new or parked. A job that retry queued has a previous lease.
local function take_unleased(entries)
  local indexes, since = {}, {}
  for n, entry in ipairs(entries) do
    local index, _, queued = job_of(entry)
    indexes[n], since[n] = index, queued
  end
  take(entries, redis.call('HMGET', k.lease, unpack(indexes)), since)
end

-- park_rest parks the rest of the group that the last claimed entry belongs to.
local function park_rest(last)
  local _, _, _, rest = job_of(last)
  if not rest or phase == 'CANCELLING' then
    return
  end
  local r = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', math.min(tonumber(rest), 255), 'NOACK', 'STREAMS', k.jobs, '>')
  if r then
    -- Fed entries have consecutive IDs, and none of these has ended.
    local entries = r[1][2]
    local from = tonumber(string.match(entries[1][1], '^%d+'))
    keep_parked(consumer, from, from + #entries - 1, now)
  end
end

-- take_parked leases jobs that are parked for a worker, from the first on. The rest stays parked for it.
local function take_parked(worker, from, to, seen)
  local ids, n = {}, math.min(count, to - from + 1)
  for p = from, from + n - 1 do
    ids[#ids + 1] = string.format('%d-0', p)
  end
  keep_parked(worker, from + n, to, seen)
  ids[#ids + 1] = 'FORCE'
  take_unleased(redis.call('XCLAIM', k.jobs, 'workers', consumer, 0, unpack(ids)))
end

-- take_abandoned leases parked jobs of workers whose last sign of life was at most at a time. It reports whether none is left.
local function take_abandoned(seen_by)
  while true do
    local worker, from, to, seen = most_parked(seen_by)
    if not worker or count == 0 then
      return not worker
    end
    take_parked(worker, from, to, seen)
  end
end

-- steal takes the second half of the longest range, until the claim is full. What is left of the last half is parked for the caller.
local function steal()
  while count > 0 do
    local worker, from, to, seen = most_parked(now)
    if not worker then
      return
    end
    local middle = to - math.max(1, math.floor((to - from + 1) / 2))
    keep_parked(worker, from, middle, seen)
    take_parked(consumer, middle + 1, to, now)
  end
end

if open then
  take_waiting(k.back, count)
end
if phase == 'CANCELLING' then
  take_waiting(k.alone, count)
end

-- All workers share one pass over the PEL per fifth of a lease. An unfinished pass continues at its cursor.
cursor = cursor or '0-0'
if count > 0 and now >= grace and (cursor ~= '0-0' or now - (tonumber(swept) or 0) >= lease / 5) then
  local r = redis.call('XAUTOCLAIM', k.jobs, 'workers', consumer, lease, cursor, 'COUNT', count)
  local entries, leases, takeovers = {}, {}, 0
  for _, entry in ipairs(r[2]) do
    if entry and entry[2] then
      local index = job_of(entry)
      local old = redis.call('HGET', k.lease, index)
      local expired = held(old)
      if expired then
        takeovers = takeovers + 1
      end
      if not open and not expired then
        -- The job was released, and it is in the list.
      elseif last_attempt(old) then
        aside(entry[1], index, old, now)
      elseif not open then
        put_back(entry[1], index, old)
      else
        entries[#entries + 1] = entry
        leases[#entries] = old
      end
    end
  end
  if #entries > 0 then
    take(entries, leases, none)
  end
  if takeovers > 0 then
    redis.call('HINCRBY', k.meta, 'takeovers', takeovers)
  end
  -- The next claim goes on if this one leaves parked jobs of a dead worker.
  local done = not (grouped and open) or take_abandoned(now - lease)
  redis.call('HSET', k.meta, 'cursor', r[1], 'swept', done and now or swept or 0)
end

if first and count > 0 and open then
  take_parked(consumer, first, last, now)
end

if count > 0 and open then
  local r = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', count, 'STREAMS', k.jobs, '>')
  if r then
    take_unleased(r[1][2])
    park_rest(r[1][2][#r[1][2]])
  end
end

if count > 0 and open and grouped then
  steal()
end

if args.idle and #out == 1 and open then
  take_waiting(k.alone, 1, 1)
end
if freed then
  keep_account(account)
end
return out
