-- spend.lua: settle ended model calls, and reserve room in the batch's budget for new ones.
-- Parts: arguments, keys, clock, lease, account, budget
-- args: ended, a list of calls: index, call, usage (prompt, cached and completion tokens; missing if it is unknown). A call of
--   unknown usage counts with its reservation. wanted, a list of calls: index, fence, call, prompt tokens, limit of completion
--   tokens or 0
-- A call is named <token>.<number>, and no name is used twice.
-- Returns {phase, code...} with one code per wanted call: 1 it may start, 0 the calls in flight may need the rest of the budget,
-- -1 fenced, -2 the budget is used up.
-- Atomic. Repeatable: a call is settled once, and reserved once. Holds I12.
local phase, whole, text = unpack(redis.call('HMGET', k.meta, 'phase', 'of', 'ledger'))
if not phase then
  return {''}
end
local account, changed = parse_account(text), false
for _, ended in ipairs(args.ended) do
  local part = parse_calls(ended.index)
  local c = part.calls[ended.call]
  if c then
    local used = ended.usage or c
    if c.live then
      reserve_call(account, c, -1)
    end
    if ended.usage and used[1] + used[3] > 0 then
      account.ended = account.ended + 1
      add(account.learned, used, 1)
    end
    add(account.pending, used, 1)
    add(part.used, used, 1)
    part.calls[ended.call] = nil
    keep_calls(ended.index, part)
    changed = true
  end
end
if #args.wanted == 0 then
  if changed then
    keep_account(account)
  end
  return {phase}
end

-- A worker of an older version does not reserve. If it took a job over, the job's old reservations remain. audit frees them
-- when they are in the way, at most once in 5 s.
local function audit()
  local now, before = now_ms(), tonumber(redis.call('HGET', k.meta, 'audited') or 0)
  if now - before < 5000 then
    return
  end
  redis.call('HSET', k.meta, 'audited', now)
  for _, index in ipairs(redis.call('HKEYS', k.calls)) do
    local lease = redis.call('HGET', k.lease, index)
    lapse(account, index, held(lease) and parse_lease(lease) or nil)
  end
end

keep_account(account)
local s = budget_of(k.meta, whole)
local _, cost = amounts(k.meta)
local out = {phase}
for n, wanted in ipairs(args.wanted) do
  local index, code = wanted.index, -1
  if not fenced(index, wanted.fence) then
    local part = parse_calls(index)
    if part.calls[wanted.call] then
      code = 1
    elseif s and used_up(s) then
      code = -2
    else
      local e = estimate(account, wanted.prompt, wanted.limit)
      local tokens, usd = e[1] + e[3], cost(unpack(e))
      code = (not s or fitting(s, tokens, usd) > 0) and 1 or 0
      if code == 1 then
        part.names[#part.names + 1] = wanted.call
        part.calls[wanted.call] = {e[1], e[2], e[3], live = true}
        keep_calls(index, part)
        reserve_call(account, e, 1)
        if s then
          s.open, s.reserved, s.reserved_usd = s.open + 1, s.reserved + tokens, s.reserved_usd + usd
        end
      else
        audit()
      end
    end
  end
  out[1 + n] = code
end
keep_account(account)
return out
