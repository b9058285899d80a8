-- remove.lua: delete a batch that is done. The caller deletes the journals of failed jobs first, one by one.
-- KEYS[1] meta  KEYS[2] plan  KEYS[3] jobs  KEYS[4] lease  KEYS[5] back  KEYS[6] results  KEYS[7] finished  KEYS[8] failed  KEYS[9] alone
-- KEYS[10] calls
-- Returns the phase before: the batch was deleted if it is DONE or ''.
-- Atomic. Repeatable.
local phase = redis.call('HGET', KEYS[1], 'phase') or ''
if phase == 'DONE' or phase == '' then
  redis.call('UNLINK', unpack(KEYS))
end
return phase
