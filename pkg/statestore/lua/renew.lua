-- renew.lua: extend leases.
-- Parts: arguments, keys, clock, pulse, lease, parked
-- args: consumer; lease, ms; columns with a value for each lease: index, entry (its ID), fence
-- Returns {phase, code...}: 1 renewed, -1 fenced.
-- Atomic. Repeatable. Holds I1: a blind XCLAIM by a former holder would steal the job back.
local phase, grouped = unpack(redis.call('HMGET', k.meta, 'phase', 'grouped'))
phase = phase or ''
local out, ids = {phase}, {}
for n, index in ipairs(args.index) do
  if fenced(index, args.fence[n]) then
    out[1 + n] = -1
  else
    ids[#ids + 1] = args.entry[n]
    out[1 + n] = 1
  end
end
if phase ~= '' then
  local now = now_ms()
  pulse(k.meta, now, args.lease)
  if grouped then
    renew_parked(args.consumer, now)
  end
end
if #ids > 0 then
  ids[#ids + 1] = 'IDLE'
  ids[#ids + 1] = 0
  ids[#ids + 1] = 'JUSTID'
  redis.call('XCLAIM', k.jobs, 'workers', args.consumer, 0, unpack(ids))
end
return out
