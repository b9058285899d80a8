-- job.lua: an entry of the stream jobs has the fields i (index), p (payload), t (the time at which it was queued, ms), and g (how
-- many of the next entries share its prefix; missing if none does).

-- queue_job adds an entry. The values are text, because formatting a number in Redis costs as much as the rest of the call.
local function queue_job(jobs, id, index, payload, since, rest)
  if rest and rest ~= '0' then
    redis.call('XADD', jobs, id, 'i', index, 'p', payload, 't', since, 'g', rest)
  else
    redis.call('XADD', jobs, id, 'i', index, 'p', payload, 't', since)
  end
end

-- queue_jobs adds jobs in the positions from, from+1, … up to total-1, and returns total. The job in position p has the entry ID
-- <p+1>-0 and the payload ARGV[first + p]. indexes are those of the payloads from position base on; nil if they are the positions. rests holds the
-- field g of each; nil if there are no groups.
local function queue_jobs(jobs, from, total, first, indexes, rests, base, now)
  local position, since = string.format('%d', from), string.format('%d', now)
  for p = from, total - 1 do
    local after = string.format('%d', p + 1) -- the number in the ID of a job is the position of the next
    queue_job(jobs, after .. '-0', indexes and indexes[p - base + 1] or position, ARGV[first + p], since,
      rests and rests[p - base + 1])
    position = after
  end
  return total
end

-- job_of returns index, payload, time and field g of an entry, as text.
local function job_of(entry)
  local fields = entry[2]
  return fields[2], fields[4], fields[6], fields[8]
end

-- make_queue creates the stream and its consumer group. It changes nothing if they exist.
local function make_queue(jobs)
  redis.pcall('XGROUP', 'CREATE', jobs, 'workers', '0', 'MKSTREAM')
end
