-- remove.lua: delete a batch that is done. The caller deletes the journals of failed jobs first, one by one.
-- Parts: keys
-- Returns the phase before: the batch was deleted if it is DONE or ''.
-- Atomic. Repeatable.
local phase = redis.call('HGET', k.meta, 'phase') or ''
if phase == 'DONE' or phase == '' then
  for _, name in ipairs(key_names) do
    redis.call('UNLINK', k[name])
  end
end
return phase
