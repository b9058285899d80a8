-- book.lua: find the batch of an interrupted submission, or book an ID for this one.
-- Parts: arguments
-- KEYS[1] submission of one fingerprint
-- args: id of the batch; lifetime of the booking, ms
-- Returns the ID to use: the booked one if there is one, else args.id.
-- Atomic. Repeatable.
local booked = redis.call('GET', KEYS[1])
if booked then
  return booked
end
redis.call('SET', KEYS[1], args.id, 'PX', args.lifetime)
return args.id
