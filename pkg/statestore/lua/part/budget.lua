-- budget.lua: the stages of a batch share its budget.
-- Parts: account

-- amounts reads the used and reserved amounts of one batch without its stages: tokens, and US dollars at its prices per million
-- tokens. most and dearest are its limits of both; 0 is no limit. stages are the key prefixes of its other stages. A call in
-- flight counts at least as much as an average call. The second result computes the cost of tokens at the batch's prices.
-- The package's Go code repeats the sums for users who may not run scripts.
local function amounts(meta)
  local m = redis.call('HMGET', meta, 'prompt', 'cached', 'completion', 'price_prompt', 'price_cached', 'price_completion',
    'cap_tokens', 'cap_usd', 'ledger', 'planner', 'reduce')
  for i = 1, 8 do
    m[i] = tonumber(m[i] or 0)
  end
  local a = parse_account(m[9])
  local function cost(prompt, cached, completion)
    return ((prompt - cached) * m[4] + cached * m[5] + completion * m[6]) / 1000000
  end
  local used = {m[1], m[2], m[3]}
  add(used, a.pending, 1)
  local s = {
    tokens = used[1] + used[3], usd = cost(unpack(used)), open = a.open,
    reserved = a.reserved[1] + a.reserved[3], reserved_usd = cost(unpack(a.reserved)),
    most = m[7], dearest = m[8], stages = {},
  }
  for i = 10, 11 do
    s.stages[#s.stages + 1] = m[i] or nil
  end
  if a.ended > 0 then
    local n = a.open / a.ended
    s.reserved = math.max(s.reserved, n * (a.learned[1] + a.learned[3]))
    s.reserved_usd = math.max(s.reserved_usd, n * cost(unpack(a.learned)))
  end
  return s, cost
end

-- budget_of adds up the amounts of a batch and its stages. whole is the key prefix of the batch that this one is a stage of, or
-- nil. It returns nil for a batch without a budget.
local function budget_of(meta, whole)
  local s = amounts(whole and whole .. 'meta' or meta)
  if s.most == 0 and s.dearest == 0 then
    return nil
  end
  for _, stage in ipairs(s.stages) do
    local part = amounts(stage .. 'meta')
    for _, sum in ipairs({'tokens', 'usd', 'open', 'reserved', 'reserved_usd'}) do
      s[sum] = s[sum] + part[sum]
    end
  end
  return s
end

-- used_up reports whether the batch has used up its budget.
local function used_up(s)
  return s.most > 0 and s.tokens >= s.most or s.dearest > 0 and s.usd >= s.dearest
end

-- estimate predicts the usage of a call: prompt, cached and completion tokens. prompt is the caller's estimate. most limits the
-- completion; 0 is no limit. The mean of the ended calls corrects both, with a margin that shrinks as their number grows.
local function estimate(a, prompt, most)
  if a.ended == 0 then
    return {prompt, 0, most > 0 and most or 4096}
  end
  local margin = (1.1 + 1 / a.ended) / a.ended
  local completion = math.ceil(a.learned[3] * margin)
  if most > 0 then
    completion = math.min(completion, most)
  end
  prompt = math.max(prompt, math.ceil(a.learned[1] * margin))
  return {prompt, a.learned[1] > 0 and math.floor(prompt * a.learned[2] / a.learned[1]) or 0, completion}
end

-- fitting returns how many calls of such a size the budget has room for. While no call is in flight it is at least one, unless
-- the budget is used up: a call of unknown cost must not stop a batch.
local function fitting(s, tokens, usd)
  if used_up(s) then
    return 0
  end
  local n = math.huge
  if s.most > 0 then
    n = math.min(n, (s.most - s.tokens - s.reserved) / math.max(tokens, 1))
  end
  if s.dearest > 0 and usd > 0 then
    n = math.min(n, (s.dearest - s.usd - s.reserved_usd) / usd)
  end
  return math.max(n == math.huge and n or math.floor(n), s.open == 0 and 1 or 0)
end
