-- checkpoint.lua: append one turn to a job's journal.
-- KEYS[1] lease  KEYS[2] journal
-- ARGV[1] index  ARGV[2] fence  ARGV[3] turn, 1-based  ARGV[4] the turn's content
-- Returns 1 appended, 0 already there (a repeat after a lost reply), -1 fenced, -2 the turn before it is missing.
-- Atomic. Repeatable. Holds I1, I3.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return -1
end
local have, turn = redis.call('LLEN', KEYS[2]), tonumber(ARGV[3])
if turn <= have then
  return 0
end
if turn > have + 1 then
  return -2
end
redis.call('RPUSH', KEYS[2], ARGV[4])
return 1
