-- finish.lua: commit the results of up to 64 jobs.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs  KEYS[4] lease  KEYS[5] back  KEYS[6] results  KEYS[7] finished  KEYS[8] failed
-- ARGV[1] journal key prefix
-- then per job: index, entry ID, fence, status, keep journal (1|0), result (JSON), turns, prompt tokens, cached tokens,
-- completion tokens, tools asked, tools executed
-- Returns {phase, code...}: 1 committed, 0 the job has a result already, -1 fenced.
-- Atomic. Repeatable. Holds I1, I2: result, ack, counters and close are one step.
local journal = ARGV[1]
local out, indexes, held, ids, drop = {''}, {}, {}, {}, {}
local by, sum = {ok = 0, failed = 0, cancelled = 0}, {0, 0, 0, 0, 0, 0}
-- A call from Lua costs more than what most commands do, so what can be asked or written for all jobs at once is.
for a = 2, #ARGV, 12 do
  indexes[#indexes + 1] = ARGV[a]
end
local fences = #indexes > 0 and redis.call('HMGET', KEYS[4], unpack(indexes)) or {}
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or 0)
for n, index in ipairs(indexes) do
  local a = 12 * n - 10
  local id, status = ARGV[a + 1], ARGV[a + 3]
  if fences[n] ~= ARGV[a + 2] then
    out[#out + 1] = redis.call('GETBIT', KEYS[7], index) == 1 and 0 or -1
  else
    ids[#ids + 1] = id
    held[#held + 1] = index
    held[#held + 1] = 'x' .. index
    if redis.call('SETBIT', KEYS[7], index, 1) == 1 then
      out[#out + 1] = 0
    else
      seq = seq + 1
      redis.call('XADD', KEYS[6], seq .. '-0', 'i', index, 's', status, 'r', ARGV[a + 5])
      if status == 'failed' then
        -- retry needs the input again, and must know which result to take back.
        local entry = redis.call('XRANGE', KEYS[3], id, id)[1]
        redis.call('HSET', KEYS[8], index, seq .. ' ' .. (entry and entry[2][4] or ''))
      end
      if ARGV[a + 4] == '1' then
        redis.call('PEXPIRE', journal .. index, redis.call('HGET', KEYS[1], 'ttl'))
      else
        drop[#drop + 1] = journal .. index
      end
      by[status] = by[status] + 1
      for s = 1, 6 do
        sum[s] = sum[s] + ARGV[a + 5 + s]
      end
      out[#out + 1] = 1
    end
  end
end
if #ids > 0 then
  -- XACK before XDEL: an entry that is gone cannot be acknowledged everywhere.
  redis.call('XACK', KEYS[3], 'workers', unpack(ids))
  redis.call('XDEL', KEYS[3], unpack(ids))
  redis.call('HDEL', KEYS[4], unpack(held))
  redis.call('HSET', KEYS[1], 'seq', seq)
end
if #drop > 0 then
  redis.call('UNLINK', unpack(drop))
end
for status, n in pairs(by) do
  if n > 0 then
    redis.call('HINCRBY', KEYS[1], status, n)
  end
end
for s, field in ipairs({'turns', 'prompt', 'cached', 'completion', 'asked', 'executed'}) do
  if sum[s] > 0 then
    redis.call('HINCRBY', KEYS[1], field, sum[s])
  end
end
out[1] = close({meta = KEYS[1], plan = KEYS[2], jobs = KEYS[3], lease = KEYS[4], back = KEYS[5], results = KEYS[6],
  finished = KEYS[7], failed = KEYS[8]}) or ''
return out
