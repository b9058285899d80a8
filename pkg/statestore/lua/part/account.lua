-- account.lua: the account of a batch counts the model calls of its jobs that no result contains yet. It is the field ledger of
-- meta, eleven integers. A batch that never reserved has none.
--
-- The hash calls holds each job's part: three integers for its usage that no result contains, then five words per call. These
-- are the call's name <token>.<number>, its three reserved numbers, and 1 while it is in flight. 0 marks a call that lost its
-- lease. Its reservation is free, and its usage still counts if its worker reports it.
-- Parts: keys

-- parse_account parses an account. A missing one is all zeros. A list of three holds prompt, cached and completion tokens.
local function parse_account(text)
  local n = {}
  for number in string.gmatch(text or '', '%d+') do
    n[#n + 1] = tonumber(number)
  end
  for i = #n + 1, 11 do
    n[i] = 0
  end
  return {
    open = n[1], reserved = {n[2], n[3], n[4]}, -- calls in flight
    ended = n[5], learned = {n[6], n[7], n[8]}, -- ended calls of known usage, from which calls are estimated
    pending = {n[9], n[10], n[11]},             -- usage that no result contains
  }
end

local function keep_account(a)
  local r, e, p = a.reserved, a.learned, a.pending
  redis.call('HSET', k.meta, 'ledger', string.format('%d %d %d %d %d %d %d %d %d %d %d',
    a.open, r[1], r[2], r[3], a.ended, e[1], e[2], e[3], p[1], p[2], p[3]))
end

-- add adds tokens to a sum, or with by = -1 subtracts them. No sum is below 0.
local function add(sum, tokens, by)
  for i = 1, 3 do
    sum[i] = math.max(0, sum[i] + by * tokens[i])
  end
end

-- parse_calls reads a job's part of the account: its usage, its calls by name, and their names in order.
local function parse_calls(index)
  local part, words = {used = {0, 0, 0}, calls = {}, names = {}}, {}
  for word in string.gmatch(redis.call('HGET', k.calls, index) or '', '%S+') do
    words[#words + 1] = word
  end
  for i = 1, math.min(#words, 3) do
    part.used[i] = tonumber(words[i])
  end
  for i = 4, #words, 5 do
    part.names[#part.names + 1] = words[i]
    part.calls[words[i]] = {tonumber(words[i + 1]), tonumber(words[i + 2]), tonumber(words[i + 3]), live = words[i + 4] == '1'}
  end
  return part
end

-- keep_calls stores a job's part. It deletes an empty part.
local function keep_calls(index, part)
  local out = string.format('%d %d %d', unpack(part.used))
  local empty = part.used[1] + part.used[2] + part.used[3] == 0
  for _, name in ipairs(part.names) do
    local c = part.calls[name]
    if c then
      out = out .. string.format(' %s %d %d %d %d', name, c[1], c[2], c[3], c.live and 1 or 0)
      empty = false
    end
  end
  if empty then
    redis.call('HDEL', k.calls, index)
  else
    redis.call('HSET', k.calls, index, out)
  end
end

-- reserve_call adds a call in flight to an account (by = 1) or removes it (by = -1).
local function reserve_call(a, c, by)
  a.open = math.max(0, a.open + by)
  add(a.reserved, c, by)
end

-- lapse frees the reservations of a job that lost its lease. Calls of the lease with token keep stay unchanged.
local function lapse(a, index, keep)
  local part, changed = parse_calls(index), false
  for _, name in ipairs(part.names) do
    local c = part.calls[name]
    if c.live and string.match(name, '^%d+') ~= keep then
      reserve_call(a, c, -1)
      c.live, changed = false, true
    end
  end
  if changed then
    keep_calls(index, part)
  end
  return changed
end
