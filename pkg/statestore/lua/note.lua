-- note.lua: write a field of a job's effect log.
-- Parts: arguments, keys, lease
-- args: index; fence; field: t<turn> a turn, o<call> an outcome, a<call> a question to the user
-- ARGV[2] the field's value
-- Returns 1 written, -1 fenced.
-- Atomic. Repeatable: the first value of a turn and of an outcome stays. Holds I1.
if fenced(args.index, args.fence) then
  return -1
end
redis.call('HSETNX', effects_key(k, args.index), args.field, ARGV[2])
return 1
