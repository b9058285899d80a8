-- book.lua: find the batch that an interrupted submission began, or book an ID for this one.
-- KEYS[1] submission of one fingerprint
-- ARGV[1] batch ID  ARGV[2] ms that the booking lasts
-- Returns the ID to go on with.
-- Atomic. Repeatable.
local booked = redis.call('GET', KEYS[1])
if booked then
  return booked
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
