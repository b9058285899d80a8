-- finish.lua: end an execution with its outcome, or release the lead only.
-- KEYS[1] lead  KEYS[2] value  KEYS[3] waiters  KEYS[4] outcome of this execution
-- ARGV[1] token  ARGV[2] the outcome, '' to release the lead  ARGV[3] ms to keep the outcome as the value; 0 not at all
-- ARGV[4] ms to keep the outcome for waiting processes  ARGV[5] lease, ms
-- ARGV[6] 1 if the outcome may be stored after the lease expired, as long as no process took the lead
-- ARGV[7] microseconds since the execution ended
-- Returns {code, inbox...}: 1 ended, 0 had ended before (a repeat after a lost reply), -1 fenced.
-- The inboxes belong to the processes that wait for this execution.
-- Atomic. Repeatable. Holds I1, I6.
local waiters, inboxes = redis.call('HGETALL', KEYS[3]), {1}
local ended = ''
for n = 1, #waiters, 2 do
  if waiters[n] == '' then
    ended = waiters[n + 1]
  elseif waiters[n + 1] == ARGV[1] then
    inboxes[#inboxes + 1] = waiters[n]
  end
end
local lead = redis.call('GET', KEYS[1])
if lead ~= ARGV[1] then
  if ended == ARGV[1] then
    inboxes[1] = 0
    return inboxes
  end
  if lead or ARGV[6] ~= '1' or redis.call('EXISTS', KEYS[2]) == 1 then
    return {-1}
  end
end
if ARGV[2] ~= '' then
  local keep, short = tonumber(ARGV[3]), tonumber(ARGV[4])
  if keep > 0 then
    redis.call('SET', KEYS[2], ARGV[2], 'PX', keep)
  end
  -- Waiting processes get the outcome even if the value has expired or must not be kept.
  -- The time of the end is stored with it: later callers must not get the outcome.
  if keep < short and #inboxes > 1 then
    local t = redis.call('TIME')
    redis.call('SET', KEYS[4], string.format('%.0f ', t[1] * 1000000 + t[2] - ARGV[7]) .. ARGV[2], 'PX', short)
  end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[3], '', ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[5] * 10)
return inboxes
