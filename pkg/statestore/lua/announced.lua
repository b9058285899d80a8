-- announced.lua: delete a booking after the submission printed its batch ID.
-- KEYS[1] submission of one fingerprint
-- ARGV[1] batch ID
-- Returns 1 deleted, 0 no booking of this ID. A booking of another ID stays.
-- Atomic. Repeatable.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('UNLINK', KEYS[1])
