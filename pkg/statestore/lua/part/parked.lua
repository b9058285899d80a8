-- parked.lua: parked jobs wait for the worker that has begun their group, so that the group's prefix is computed once. They have no
-- lease and are not pending. The hash parked holds "<first> <last> <seen>" for each worker: its parked jobs are the entries <first>-0
-- to <last>-0, and seen is its last sign of life, in ms. It is 0 if the worker has given them up.
-- Parts: keys

-- parse_range returns first, last and seen. It returns nothing for a worker without parked jobs.
local function parse_range(text)
  local first, last, seen = string.match(text or '', '^(%d+) (%d+) (%d+)$')
  if first then
    return tonumber(first), tonumber(last), tonumber(seen)
  end
end

local function parked_by(worker)
  return parse_range(redis.call('HGET', k.parked, worker))
end

-- keep_parked replaces the parked jobs of a worker. An empty range has first > last.
local function keep_parked(worker, first, last, seen)
  if first > last then
    redis.call('HDEL', k.parked, worker)
  else
    redis.call('HSET', k.parked, worker, string.format('%d %d %d', first, last, seen))
  end
end

-- renew_parked records a sign of life, unless the worker has given its parked jobs up.
local function renew_parked(worker, now)
  local first, last, seen = parked_by(worker)
  if first and seen > 0 then
    keep_parked(worker, first, last, now)
  end
end

-- give_up_parked lets other workers take the parked jobs of a worker as if it were dead.
local function give_up_parked(worker)
  local first, last = parked_by(worker)
  if first then
    keep_parked(worker, first, last, 0)
  end
end

-- most_parked returns the worker with the most parked jobs, and their range, of those whose last sign of life was at most at a time.
-- Of equals it is the first by name. It returns nil if there is none.
local function most_parked(seen_by)
  local worker, first, last, seen
  local all = redis.call('HGETALL', k.parked)
  for n = 1, #all, 2 do
    local f, l, s = parse_range(all[n + 1])
    if s <= seen_by then
      local more = worker and (l - f) - (last - first) or 1
      if more > 0 or more == 0 and all[n] < worker then
        worker, first, last, seen = all[n], f, l, s
      end
    end
  end
  return worker, first, last, seen
end
