-- pulse.lua: outages of Redis must not expire leases.

-- pulse records that a worker reached this batch, and returns the time before which no expired lease may be taken over. If no
-- worker reached it for half a lease, Redis or the network was away. Idle times in the PEL then include time in which no holder
-- could renew, so every holder gets one whole lease to come back.
local function pulse(meta, now, lease)
  local last, grace = unpack(redis.call('HMGET', meta, 'pulse', 'grace'))
  grace = tonumber(grace) or 0
  if last and now - tonumber(last) > lease / 2 then
    grace = now + lease
    redis.call('HSET', meta, 'pulse', now, 'grace', grace)
  else
    redis.call('HSET', meta, 'pulse', now)
  end
  return grace
end
