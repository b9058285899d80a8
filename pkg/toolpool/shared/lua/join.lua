-- join.lua: read the result of a call, or take the free lead, or wait for the leader.
-- KEYS[1] lead  KEYS[2] value  KEYS[3] waiters  KEYS[4] outcome of the awaited execution
-- ARGV[1] token of this join  ARGV[2] lease, ms  ARGV[3] inbox of this process  ARGV[4] awaited token, or ''
-- ARGV[5] 1 if a stored value may be used  ARGV[6] 1 if this process may lead  ARGV[7] an unreadable value, or ''
-- Returns {now, 'outcome', v} | {now, 'value', v, ms until it expires} | {now, 'lead'} |
-- {now, 'wait', token, ms left of the lease}. The last has token '' if the lead is free and this process may not take it.
-- now is in microseconds.
-- Atomic. Repeatable: a holder of the lead that sends its token gets the lead again. Holds I6.
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000000 + t[2])
if ARGV[4] ~= '' then
  local outcome = redis.call('GET', KEYS[4])
  if outcome and outcome ~= ARGV[7] then
    return {now, 'outcome', outcome}
  end
end
if ARGV[5] == '1' then
  local value = redis.call('GET', KEYS[2])
  if value and value ~= ARGV[7] then
    return {now, 'value', value, redis.call('PTTL', KEYS[2])}
  end
end
local lead = redis.call('GET', KEYS[1])
if lead == ARGV[1] then
  return {now, 'lead'}
end
if not lead then
  if ARGV[6] ~= '1' then
    return {now, 'wait', '', 0}
  end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {now, 'lead'}
end
local left = redis.call('PTTL', KEYS[1])
-- Records which execution each process waits for, so that a later execution neither wakes it nor is mistaken for it.
redis.call('HSET', KEYS[3], ARGV[3], lead)
redis.call('PEXPIRE', KEYS[3], ARGV[2] * 10)
return {now, 'wait', lead, left}
