-- keys.lua: the names of a batch's keys. A stage of a batch has the same keys with another prefix, in the same slot of a cluster.
-- KEYS declares every key of the batch, and the first one ends with "meta". So Redis refuses the whole script while it moves the
-- batch to another server. A script would otherwise end in the middle, at a key that has moved.

local key_names = {'meta', 'plan', 'jobs', 'lease', 'back', 'results', 'finished', 'failed', 'alone', 'calls', 'parked'}

-- keys returns the keys of the batch with this key prefix, by name.
local function keys(prefix)
  local k = {prefix = prefix, journal = prefix .. 'journal:'}
  for _, name in ipairs(key_names) do
    k[name] = prefix .. name
  end
  return k
end

-- journal_key returns the key of a job's journal, and effects_key that of its effect log.
local function journal_key(k, index)
  return k.journal .. index
end

local function effects_key(k, index)
  return k.journal .. index .. ':fx'
end

-- k holds the keys of the script's batch.
local k = keys(string.sub(KEYS[1], 1, -5))
