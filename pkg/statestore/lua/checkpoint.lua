-- checkpoint.lua: append one turn to a job's journal.
-- Parts: arguments, keys, lease
-- args: index; fence; turn, 1-based
-- ARGV[2] the turn's content
-- Returns 1 appended, 0 already there (a repeat after a lost reply), -1 fenced, -2 the turn before it is missing.
-- Atomic. Repeatable. Holds I1, I3.
if fenced(args.index, args.fence) then
  return -1
end
local journal = journal_key(k, args.index)
local have = redis.call('LLEN', journal)
if args.turn <= have then
  return 0
end
if args.turn > have + 1 then
  return -2
end
redis.call('RPUSH', journal, ARGV[2])
return 1
