-- checkpoint.lua: append up to 64 turns to the journals of their jobs.
-- Parts: arguments, keys
-- args: columns with a value for each turn: index, fence, turn (1-based)
-- ARGV[2..] the contents of the turns
-- Returns a code for each turn: 1 appended, 0 already there (a repeat after a lost reply), -1 fenced, -2 the turn before it is missing.
-- Atomic. Repeatable. Holds I1, I3.
local out = {}
local leases = redis.call('HMGET', k.lease, unpack(args.index))
for j, turn in ipairs(args.turn) do
  local journal = journal_key(k, args.index[j])
  out[j] = -1
  if leases[j] == args.fence[j] then
    local have = redis.call('LLEN', journal)
    out[j] = turn <= have and 0 or -2
    if turn == have + 1 then
      out[j] = 1
      redis.call('RPUSH', journal, ARGV[1 + j])
    end
  end
end
return out
