-- note.lua: write a field of a job's ledger of effects.
-- KEYS[1] lease  KEYS[2] effects
-- ARGV[1] index  ARGV[2] fence  ARGV[3] field: t<turn> a turn, o<place> an outcome, a<place> a question to the user
-- ARGV[4] its value
-- Returns 1 written, -1 fenced.
-- Atomic. Repeatable: the first value of a turn and of an outcome stays. Holds I1.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return -1
end
redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[4])
return 1
