-- announced.lua: forget a booking whose ID has been told.
-- KEYS[1] submission of one fingerprint
-- ARGV[1] batch ID
-- Returns 1 if it was booked. Another ID's booking stays.
-- Atomic. Repeatable.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('UNLINK', KEYS[1])
