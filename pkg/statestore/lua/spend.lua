-- spend.lua: settle ended model calls, and reserve room in the batch's budget for new ones.
-- KEYS[1] meta  KEYS[2] lease  KEYS[3] calls
-- ARGV[1] the number n of ended calls, then for each: index, call, 1 if its usage is known, prompt, cached and completion tokens.
-- A call of unknown usage counts with its reservation.
-- then for each new call: index, fence, call, prompt tokens, limit of completion tokens or 0
-- A call is named <token>.<number>, and no name is used twice.
-- Returns {phase, code...} with one code per new call: 1 it may start, 0 the calls in flight may need the rest of the budget,
-- -1 fenced, -2 the budget is used up.
-- Atomic. Repeatable: a call is settled once, and reserved once. Holds I12.
local phase, of, text = unpack(redis.call('HMGET', KEYS[1], 'phase', 'of', 'ledger'))
if not phase then
  return {''}
end
local l, n, changed = ledger_of(text), tonumber(ARGV[1]), false
for a = 2, 1 + 6 * n, 6 do
  local index, name, known = ARGV[a], ARGV[a + 1], ARGV[a + 2] == '1'
  local r = calls_of(KEYS[3], index)
  local c = r.calls[name]
  if c then
    local used = known and {tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5])} or c
    if c.live then
      reserve_call(l, c, -1)
    end
    local learn = known and used[1] + used[3] > 0
    l[5] = l[5] + (learn and 1 or 0)
    for i = 1, 3 do
      l[5 + i] = l[5 + i] + (learn and used[i] or 0)
      l[8 + i] = l[8 + i] + used[i]
      r.used[i] = r.used[i] + used[i]
    end
    r.calls[name] = nil
    keep_calls(KEYS[3], index, r)
    changed = true
  end
end

local first = 2 + 6 * n
if first > #ARGV then
  if changed then
    keep_ledger(KEYS[1], l)
  end
  return {phase}
end

-- A worker of an older version does not reserve. If it took a job over, the job's old reservations remain. audit frees them
-- when they are in the way, at most once in 5 s.
local function audit()
  local now, before = now_ms(), tonumber(redis.call('HGET', KEYS[1], 'audited') or 0)
  if now - before < 5000 then
    return
  end
  redis.call('HSET', KEYS[1], 'audited', now)
  for _, index in ipairs(redis.call('HKEYS', KEYS[3])) do
    local token = string.match(redis.call('HGET', KEYS[2], index) or '', '^(%d+)|%d+|[^-]')
    lapse(l, KEYS[3], index, token)
  end
end

keep_ledger(KEYS[1], l)
local s = standing(KEYS[1], of)
local _, cost = account(KEYS[1])
local out = {phase}
for a = first, #ARGV, 5 do
  local index, name = ARGV[a], ARGV[a + 2]
  local code = -1
  if redis.call('HGET', KEYS[2], index) == ARGV[a + 1] then
    local r = calls_of(KEYS[3], index)
    if r.calls[name] then
      code = 1
    elseif s and spent(s) then
      code = -2
    else
      local e = estimate(l, tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]))
      local tokens, usd = e[1] + e[3], cost(unpack(e))
      code = (not s or fitting(s, tokens, usd) > 0) and 1 or 0
      if code == 1 then
        r.names[#r.names + 1] = name
        r.calls[name] = {e[1], e[2], e[3], live = true}
        keep_calls(KEYS[3], index, r)
        reserve_call(l, e, 1)
        if s then
          s.open, s.reserved, s.reserved_usd = s.open + 1, s.reserved + tokens, s.reserved_usd + usd
        end
      else
        audit()
      end
    end
  end
  out[#out + 1] = code
end
keep_ledger(KEYS[1], l)
return out
