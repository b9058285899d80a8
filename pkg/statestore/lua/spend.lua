-- spend.lua: settle model calls that ended, and reserve room in the batch's budget for others.
-- KEYS[1] meta  KEYS[2] lease  KEYS[3] calls
-- ARGV[1] the number n of calls that ended, then for each: index, call, 1 if its usage is known, prompt, cached and completion
-- tokens. The usage of a call that is not known is what was reserved for it.
-- then for each call that is to begin: index, fence, call, prompt tokens, the most completion tokens or 0
-- A call is named <token>.<number>, and never used twice.
-- Returns {phase, code...} with one code per call that is to begin: 1 it may begin, 0 the calls in flight may need what is
-- left, -1 fenced, -2 the budget is used up.
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

-- A worker of a version that does not reserve may have taken a job over and left its reservations. They are looked for when
-- they are in the way, once in 5 s.
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
