-- release.lua: give leases back at once; no attempt is counted (I5). A worker that releases a job may run no more jobs for a while, so
-- it gives its parked jobs up, too.
-- Parts: arguments, keys, clock, lease, parked, account
-- args: columns with a value for each lease: index, entry (its ID), fence
-- Returns {code...}: 1 released, -1 fenced (a repeat after a lost reply is fenced too, and harmless).
-- Atomic. Repeatable. Holds I1.
local out, now = {}, now_ms()
local ledger, grouped = unpack(redis.call('HMGET', k.meta, 'ledger', 'grouped'))
local account, freed, worker = parse_account(ledger), false, nil
for n, index in ipairs(args.index) do
  local id, fence = args.entry[n], args.fence[n]
  out[n] = -1
  if not fenced(index, fence) then
    local token, attempt, holder = parse_lease(fence)
    worker = holder
    if redis.call('HEXISTS', k.lease, 'x' .. index) == 0 then
      attempt = attempt - 1
    end
    let_go(k.back, id, index, token, attempt, now)
    freed = ledger and lapse(account, index) or freed
    out[n] = 1
  end
end
if freed then
  keep_account(account)
end
if grouped and worker then
  give_up_parked(worker)
end
return out
