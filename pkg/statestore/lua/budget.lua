-- budget.lua: set what a batch may use, which may let a paused one go on.
-- KEYS[1] meta
-- ARGV[1] tokens  ARGV[2] US dollars; 0 bounds nothing
-- Returns 1 set, 0 the batch is gone.
-- Atomic. Repeatable.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'cap_tokens', ARGV[1], 'cap_usd', ARGV[2])
return 1
