-- book.lua: find the batch of an interrupted submission, or book an ID for this one.
-- KEYS[1] submission of one fingerprint
-- ARGV[1] batch ID  ARGV[2] lifetime of the booking, ms
-- Returns the ID to use: the booked one if there is one, else ARGV[1].
-- Atomic. Repeatable.
local booked = redis.call('GET', KEYS[1])
if booked then
  return booked
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
