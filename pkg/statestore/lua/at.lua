-- at.lua: read results by their places in the stream.
-- KEYS[1] results
-- ARGV cursors
-- Returns {{index, status, result}...} in the order of the cursors; {} for one that was taken back or trimmed.
-- Atomic. Read-only. One reply, where a pipeline has many: an embedded server answers the first command before it reads the
-- last, and would wait for a client that is still writing.
local out = {}
for a = 1, #ARGV do
  local id = ARGV[a] .. '-0'
  local e = redis.call('XRANGE', KEYS[1], id, id)[1]
  out[a] = e and {e[2][2], e[2][4], e[2][6]} or {}
end
return out
