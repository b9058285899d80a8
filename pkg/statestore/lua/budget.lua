-- budget.lua: set the budget of a batch. A higher budget resumes a paused batch.
-- Parts: arguments, keys
-- args: tokens; usd (US dollars). Both are text, and 0 is no limit.
-- Returns 1 set, 0 the batch is gone.
-- Atomic. Repeatable.
if redis.call('EXISTS', k.meta) == 0 then
  return 0
end
redis.call('HSET', k.meta, 'cap_tokens', args.tokens, 'cap_usd', args.usd)
return 1
