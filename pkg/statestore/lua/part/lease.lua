-- lease.lua: the hash lease holds the last lease of each job that has had one: <token>|<attempt>|<holder>. The holder of a job
-- that waits is '-'. A field x<index> marks a job without attempts left.
-- Parts: keys

local function lease_text(token, attempt, holder)
  return token .. '|' .. attempt .. '|' .. holder
end

-- parse_lease returns token, attempt and holder as text, and nothing without a lease.
local function parse_lease(text)
  return string.match(text or '', '^(%d+)|(%d+)|(.*)$')
end

-- held reports whether a worker has this lease.
local function held(text)
  return text and string.sub(text, -2) ~= '|-'
end

-- fenced reports whether a caller with this fence has lost the lease (I1).
local function fenced(index, fence)
  return redis.call('HGET', k.lease, index) ~= fence
end

-- let_go ends a lease and queues its job in a list, back or alone, as "<entry ID> <index> <time>". The job has waited since then.
local function let_go(list, id, index, token, attempt, since)
  redis.call('HSET', k.lease, index, lease_text(token, attempt, '-'))
  redis.call('RPUSH', list, id .. ' ' .. index .. ' ' .. since)
end

-- next_waiting takes the first job from such a list. It returns entry ID, index and time, and nothing if the list is empty.
local function next_waiting(list)
  return string.match(redis.call('LPOP', list) or '', '^(%S+) (%S+) ?(%d*)$')
end
