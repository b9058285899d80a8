-- claim.lua: lease up to ARGV[2] jobs to a worker: released ones first, then lapsed ones, then new ones.
-- KEYS[1] meta  KEYS[2] jobs  KEYS[3] lease  KEYS[4] back
-- ARGV[1] consumer  ARGV[2] count, at least 1  ARGV[3] lease, ms  ARGV[4] journal key prefix
-- Returns {phase, job...}; a job is {index, entry ID, token, attempt, exhausted, payload, {turn...}}.
-- phase '' says that the batch is gone. exhausted = 1 says that the job used up its attempts: it must not run, only be
-- finished as WorkerLost. A batch whose budget is used up gives no new jobs.
-- Atomic. NOT repeatable: after an unknown outcome read held.lua before claiming again.
-- Holds I1 (a new token for every claim), I4, I5.
local phase, swept, cursor, maxa, capped = unpack(redis.call('HMGET', KEYS[1], 'phase', 'swept', 'cursor', 'maxa', 'cap_tokens'))
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

-- take leases entries; old holds the lease, if any, that each had before. One HINCRBY and one HSET serve them all,
-- because a call from Lua costs more than what these commands do.
local none = {}
local function take(entries, old, takeovers)
  local token = redis.call('HINCRBY', KEYS[1], 'token', #entries) - #entries
  local leases = {}
  for n, entry in ipairs(entries) do
    local index, attempt, exhausted, turns = entry[2][2], 1, 0, none
    if old[n] then
      attempt = tonumber(string.match(old[n], '^%d+|(%d+)|')) + 1
      turns = redis.call('LRANGE', ARGV[4] .. index, 0, -1)
    end
    if attempt > maxa then
      attempt, exhausted = maxa, 1
      -- No attempt begins, so a release of this lease has none to give back.
      redis.call('HSET', KEYS[3], 'x' .. index, 1)
      redis.call('HSET', KEYS[1], 'exhausted', 1)
    end
    leases[2 * n - 1] = index
    leases[2 * n] = string.format('%d|%d|%s', token + n, attempt, consumer)
    out[#out + 1] = {index, entry[1], token + n, attempt, exhausted, entry[2][4], turns}
  end
  redis.call('HSET', KEYS[3], unpack(leases))
  if takeovers > 0 then
    redis.call('HINCRBY', KEYS[1], 'takeovers', takeovers)
  end
  count = count - #entries
end

while count > 0 do
  local note = redis.call('LPOP', KEYS[4])
  if not note then
    break
  end
  -- A note whose job was taken over in the meantime is stale.
  local id, index = string.match(note, '^(%S+) (%S+)$')
  local held = redis.call('HGET', KEYS[3], index)
  if held and string.sub(held, -2) == '|-' then
    local entries = redis.call('XCLAIM', KEYS[2], 'workers', consumer, 0, id)
    if entries[1] then
      take({entries[1]}, {held}, 0)
    end
  end
end

-- One pass over the PEL per fifth of a lease, shared by all workers; a pass that is not through goes on at its cursor.
cursor = cursor or '0-0'
if count > 0 and now >= grace and (cursor ~= '0-0' or now - (tonumber(swept) or 0) >= lease / 5) then
  local r = redis.call('XAUTOCLAIM', KEYS[2], 'workers', consumer, lease, cursor, 'COUNT', count)
  redis.call('HSET', KEYS[1], 'cursor', r[1], 'swept', now)
  local entries, old, takeovers = {}, {}, 0
  for _, entry in ipairs(r[2]) do
    if entry and entry[2] then
      local held = redis.call('HGET', KEYS[3], entry[2][2])
      entries[#entries + 1] = entry
      old[#entries] = held
      if held and string.sub(held, -2) ~= '|-' then
        takeovers = takeovers + 1
      end
    end
  end
  if #entries > 0 then
    take(entries, old, takeovers)
  end
end

if count > 0 and not (capped and phase ~= 'CANCELLING' and spent(KEYS[1])) then
  local r = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', count, 'STREAMS', KEYS[2], '>')
  if r then
    local entries, indexes = r[1][2], {}
    for n, entry in ipairs(entries) do
      indexes[n] = entry[2][2]
    end
    -- A job that was queued again by retry has a note of its past.
    take(entries, redis.call('HMGET', KEYS[3], unpack(indexes)), 0)
  end
end
return out
