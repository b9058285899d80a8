-- announced.lua: delete a booking after the submission printed its batch ID.
-- Parts: arguments
-- KEYS[1] submission of one fingerprint
-- args: id of the batch
-- Returns 1 deleted, 0 no booking of this ID. A booking of another ID stays.
-- Atomic. Repeatable.
if redis.call('GET', KEYS[1]) ~= args.id then
  return 0
end
return redis.call('UNLINK', KEYS[1])
