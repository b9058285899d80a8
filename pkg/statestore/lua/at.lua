-- at.lua: read results by their positions in the stream.
-- KEYS[1] results
-- ARGV cursors
-- Returns {{index, status, result}...} in the order of the cursors; {} for a result that was taken back or trimmed.
-- Atomic. Read-only. A script returns one reply where a pipeline returns many. An embedded server answers the first command of a
-- pipeline before it reads the last, and would block on a client that is still writing.
local out = {}
for a = 1, #ARGV do
  local id = ARGV[a] .. '-0'
  local e = redis.call('XRANGE', KEYS[1], id, id)[1]
  out[a] = e and {e[2][2], e[2][4], e[2][6]} or {}
end
return out
