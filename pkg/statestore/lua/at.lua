-- at.lua: read results by their positions in the stream.
-- Parts: arguments, keys
-- args: cursors
-- Returns {{index, status, result}...} in the order of the cursors; {} for a result that was taken back or trimmed.
-- Atomic. Read-only. A script returns one reply where a pipeline returns many. An embedded server answers the first command of a
-- pipeline before it reads the last, and would block on a client that is still writing.
local out = {}
for n, cursor in ipairs(args.cursors) do
  local id = cursor .. '-0'
  local e = redis.call('XRANGE', k.results, id, id)[1]
  out[n] = e and {e[2][2], e[2][4], e[2][6]} or {}
end
return out
