-- arguments.lua: args holds the named arguments of a script, which are a JSON object in ARGV[1]. The elements after it are bytes
-- that only the caller interprets: payloads, turns, results.
local args = cjson.decode(ARGV[1])
