-- claim.lua: lease up to ARGV[2] jobs to a worker: first released ones, then expired ones, then new ones. If there are none and the
-- caller runs no other job, it leases one job that must run alone.
-- KEYS[1] meta  KEYS[2] jobs  KEYS[3] lease  KEYS[4] back  KEYS[5] alone  KEYS[6] calls
-- ARGV[1] consumer  ARGV[2] count, at least 1  ARGV[3] lease, ms  ARGV[4] journal key prefix  ARGV[5] 1: the caller runs no other job
-- Returns {phase, job...}; a job is {index, entry ID, token, attempt, exhausted, payload, {turn...}, alone, queued}.
-- phase is '' if the batch is gone. exhausted is 1 if the job has no attempts left: the worker must not run it, only finish it as
-- WorkerLost. alone is 1 if the job must run with no other job beside it. queued is how long the job waited without a lease, in ms,
-- since it was fed, released or retried; 0 after an expired lease.
-- A claim returns no more jobs than the batch's budget has room for. Without any room, it queues expired jobs as released ones.
-- Atomic. NOT repeatable: after an unknown outcome read held.lua before claiming again.
-- Holds I1 (a new token for every claim), I4, I5.
local phase, swept, cursor, maxa, capped, of, ledger =
  unpack(redis.call('HMGET', KEYS[1], 'phase', 'swept', 'cursor', 'maxa', 'cap_tokens', 'of', 'ledger'))
if not phase then
  return {''}
end
local out = {phase}
if phase == 'DONE' then
  return out
end
local now, consumer, count, lease = now_ms(), ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local grace = pulse(KEYS[1], now, lease)
maxa = tonumber(maxa)
local l, freed, open = ledger_of(ledger), false, true
if (capped or of) and phase ~= 'CANCELLING' then
  local s = standing(KEYS[1], of)
  if s then
    local _, cost = account(KEYS[1])
    local e = estimate(l, 0, 0)
    if l[5] == 0 then
      e = {0, 0, 0} -- no call has ended yet, so each call decides when it reserves
    end
    local n = fitting(s, e[1] + e[3], cost(unpack(e)))
    open = n > 0
    count = open and math.min(count, n) or count
  end
end

-- take leases entries. old holds the previous lease of each, if any; since holds the time each was queued, as text. One HINCRBY
-- and one HSET serve all entries, because a call from Lua costs more than these commands do.
local none = {}
local function take(entries, old, since, alone)
  local token = redis.call('HINCRBY', KEYS[1], 'token', #entries) - #entries
  local leases = {}
  for n, entry in ipairs(entries) do
    local index, attempt, exhausted, turns = entry[2][2], 1, 0, none
    if old[n] then
      freed = ledger and lapse(l, KEYS[6], index) or freed
      attempt = tonumber(string.match(old[n], '^%d+|(%d+)|')) + 1
      turns = redis.call('LRANGE', ARGV[4] .. index, 0, -1)
    end
    if attempt > maxa then
      attempt, exhausted = maxa, 1
      -- No attempt starts, so a release of this lease gives none back.
      redis.call('HSET', KEYS[3], 'x' .. index, 1)
      redis.call('HSET', KEYS[1], 'exhausted', 1)
    end
    leases[2 * n - 1] = index
    leases[2 * n] = string.format('%d|%d|%s', token + n, attempt, consumer)
    out[#out + 1] = {index, entry[1], token + n, attempt, exhausted, entry[2][4], turns, alone or 0,
      math.max(0, now - (tonumber(since[n]) or now))}
  end
  redis.call('HSET', KEYS[3], unpack(leases))
  count = count - #entries
end

-- last reports whether a job has only one attempt left because its worker died in each of the others. The job may be what kills
-- them, and jobs beside it would lose an attempt with it.
local function last(held)
  if maxa < 2 or not held or phase == 'CANCELLING' then
    return false
  end
  return tonumber(string.match(held, '^%d+|(%d+)|')) == maxa - 1
end

-- aside keeps such a job for a worker that runs no other job. It leaves the PEL, so that sweeps skip it.
local function aside(id, index, held, since)
  freed = ledger and lapse(l, KEYS[6], index) or freed
  local token, spent = string.match(held, '^(%d+)|(%d+)|')
  redis.call('XACK', KEYS[2], 'workers', id)
  redis.call('HSET', KEYS[3], index, token .. '|' .. spent .. '|-')
  redis.call('RPUSH', KEYS[5], id .. ' ' .. index .. ' ' .. since)
end

-- noted leases jobs that a list names, at most most of them.
local function noted(list, most, alone)
  while most > 0 and count > 0 do
    local note = redis.call('LPOP', list)
    if not note then
      break
    end
    -- The note is stale if another claim took the job over.
    local id, index, since = string.match(note, '^(%S+) (%S+) ?(%d*)$')
    local held = redis.call('HGET', KEYS[3], index)
    if held and string.sub(held, -2) == '|-' then
      if list == KEYS[4] and last(held) then
        aside(id, index, held, since)
      else
        local entries = redis.call('XCLAIM', KEYS[2], 'workers', consumer, 0, id, 'FORCE')
        if entries[1] then
          take({entries[1]}, {held}, {since}, alone)
          most = most - 1
        end
      end
    end
  end
end

-- park queues an expired job that the budget has no room for. Its attempt counts.
local function park(id, index, held)
  freed = ledger and lapse(l, KEYS[6], index) or freed
  local token, attempt = string.match(held, '^(%d+)|(%d+)|')
  redis.call('HSET', KEYS[3], index, token .. '|' .. attempt .. '|-')
  redis.call('RPUSH', KEYS[4], id .. ' ' .. index .. ' ' .. now)
end

if open then
  noted(KEYS[4], count)
end
if phase == 'CANCELLING' then
  noted(KEYS[5], count)
end

-- All workers share one pass over the PEL per fifth of a lease. An unfinished pass continues at its cursor.
cursor = cursor or '0-0'
if count > 0 and now >= grace and (cursor ~= '0-0' or now - (tonumber(swept) or 0) >= lease / 5) then
  local r = redis.call('XAUTOCLAIM', KEYS[2], 'workers', consumer, lease, cursor, 'COUNT', count)
  redis.call('HSET', KEYS[1], 'cursor', r[1], 'swept', now)
  local entries, old, takeovers = {}, {}, 0
  for _, entry in ipairs(r[2]) do
    if entry and entry[2] then
      local held = redis.call('HGET', KEYS[3], entry[2][2])
      local lapsed = held and string.sub(held, -2) ~= '|-'
      if lapsed then
        takeovers = takeovers + 1
      end
      if not open and not lapsed then
        -- The job was released, and its note is in the list.
      elseif last(held) then
        aside(entry[1], entry[2][2], held, now)
      elseif not open then
        park(entry[1], entry[2][2], held)
      else
        entries[#entries + 1] = entry
        old[#entries] = held
      end
    end
  end
  if #entries > 0 then
    take(entries, old, none)
  end
  if takeovers > 0 then
    redis.call('HINCRBY', KEYS[1], 'takeovers', takeovers)
  end
end

if count > 0 and open then
  local r = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', count, 'STREAMS', KEYS[2], '>')
  if r then
    local entries, indexes, since = r[1][2], {}, {}
    for n, entry in ipairs(entries) do
      indexes[n] = entry[2][2]
      since[n] = entry[2][6]
    end
    -- A job that retry queued has a previous lease.
    take(entries, redis.call('HMGET', KEYS[3], unpack(indexes)), since)
  end
end

if ARGV[5] == '1' and #out == 1 and open then
  noted(KEYS[5], 1, 1)
end
if freed then
  keep_ledger(KEYS[1], l)
end
return out
