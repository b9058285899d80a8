-- unreserve.lua: the account of a batch without running jobs.

-- unreserve drops all reservations of the batch with these keys. The used amounts stay.
local function unreserve(b)
  local ended, count = string.gsub(redis.call('HGET', b.meta, 'ledger') or '', '^%d+ %d+ %d+ %d+', '0 0 0 0')
  if count > 0 then
    redis.call('HSET', b.meta, 'ledger', ended)
    redis.call('UNLINK', b.calls)
  end
end
