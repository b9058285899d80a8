-- take.lua: take up to ARGV[3] starts from a tool's bucket.
-- KEYS[1] bucket, hash: level, at (microseconds)  KEYS[2] zset: process by the time of its last take, ms
-- ARGV[1] starts per second  ARGV[2] burst  ARGV[3] wanted  ARGV[4] name of the process
-- Returns {starts, ms until the next start, processes that took within 10 s}.
-- Atomic. A repeat takes again: starts may be lost, but are never granted twice.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local speed, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local level, at = unpack(redis.call('HMGET', KEYS[1], 'level', 'at'))
level = math.min(burst, (tonumber(level) or burst) + math.max(0, now - (tonumber(at) or now)) * speed / 1000000)
local starts = math.max(0, math.min(wanted, math.floor(level)))
level = level - starts
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', 60000 + burst / speed * 1000))
local ms = math.floor(now / 1000)
redis.call('ZADD', KEYS[2], string.format('%.0f', ms), ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', ms - 10000))
redis.call('PEXPIRE', KEYS[2], 20000)
return {starts, math.ceil(math.max(0, 1 - level) / speed * 1000), redis.call('ZCARD', KEYS[2])}
