-- budget.lua: set the budget of a batch. A higher budget resumes a paused batch.
-- KEYS[1] meta
-- ARGV[1] tokens  ARGV[2] US dollars; 0 is no limit
-- Returns 1 set, 0 the batch is gone.
-- Atomic. Repeatable.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'cap_tokens', ARGV[1], 'cap_usd', ARGV[2])
return 1
