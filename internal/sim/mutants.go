package sim

import (
	"strconv"
	"strings"
	"time"
)

// Mutant is a script with a deliberate defect. The simulation must catch each mutant, which tests the simulation itself.
type Mutant struct {
	Name   string
	Script string // the file in pkg/statestore/lua without its extension, or [everyScript]
	Old    string // must occur exactly once in the script
	New    string // AHEAD is replaced by the milliseconds that the process's clock is ahead of Redis
	Seeds  int    // the mutant is caught within this many seeds
	First  int    // the seed to start with, if no seed near 0 catches it
	// Stalls delays commands for longer than a lease, which few seeds do by themselves.
	Stalls bool
	// Blind makes Redis lose writes, and hides that from the code that collects the results.
	Blind bool
	// Reduces adds a batch that reduces. Failed jobs are retried, so it runs more than once.
	Reduces bool
	// Limited adds a budget.
	Limited bool
	// Forgets makes Redis lose writes.
	Forgets bool
	// Binds plays the seeds with workers that bind the batch to different models.
	Binds bool
	// Clocks removes the skew of Redis: only the clocks of the processes are off.
	Clocks bool
}

// everyScript is the prelude that all scripts begin with.
const everyScript = "prelude"

// apply inserts the defect into a script. It returns false unless Old occurs exactly once; the mutant is then out of date.
func (m *Mutant) apply(text string, ahead time.Duration) (string, bool) {
	if strings.Count(text, m.Old) != 1 {
		return text, false
	}
	clock := strconv.FormatInt(ahead.Milliseconds(), 10)
	return strings.Replace(text, m.Old, strings.ReplaceAll(m.New, "AHEAD", clock), 1), true
}

// Mutants lists every mutant.
var Mutants = []Mutant{
	{
		Name: "finish without the fence", Script: "finish", Seeds: 150, First: 72, Stalls: true,
		Old: `if held[j] ~= ARGV[fence + j] then`,
		New: `if redis.call('GETBIT', KEYS[7], i) == 1 then`,
	},
	{
		Name: "checkpoint without the fence", Script: "checkpoint", Seeds: 80, First: 14,
		Old: `if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then`,
		New: `if false then`,
	},
	{
		Name: "renew without the token", Script: "renew", Seeds: 80,
		Old: `if redis.call('HGET', KEYS[3], ARGV[a]) == ARGV[a + 2] then`,
		New: `if true then`,
	},
	{
		Name: "renewal by the worker's clock", Script: "renew", Seeds: 20, Clocks: true,
		Old: `ids[#ids + 1] = 'IDLE'
  ids[#ids + 1] = 0`,
		// Redis treats a time in the future as now; miniredis does not.
		New: `ids[#ids + 1] = 'TIME'
  ids[#ids + 1] = string.format('%d', math.min(now_ms(), now_ms() + (AHEAD)))`,
	},
	{
		Name: "time by the worker's clock", Script: everyScript, Seeds: 60, Clocks: true,
		Old: `return t[1] * 1000 + math.floor(t[2] / 1000)`,
		New: `return t[1] * 1000 + math.floor(t[2] / 1000) + (AHEAD)`,
	},
	{
		Name: "release without the fence", Script: "release", Seeds: 80, First: 15,
		Old: `if redis.call('HGET', KEYS[1], index) == fence then`,
		New: `if redis.call('HGET', KEYS[1], index) then`,
	},
	{
		Name: "acknowledge before commit", Script: "claim", Seeds: 10,
		Old: `leases[2 * n - 1] = index`,
		New: `leases[2 * n - 1] = index
    redis.call('XACK', KEYS[2], 'workers', entry[1])`,
	},
	{
		Name: "acknowledge and delete before commit", Script: "claim", Seeds: 10,
		Old: `leases[2 * n - 1] = index`,
		New: `leases[2 * n - 1] = index
    redis.call('XACK', KEYS[2], 'workers', entry[1])
    redis.call('XDEL', KEYS[2], entry[1])`,
	},
	{
		Name: "claim that reuses the last token", Script: "claim", Seeds: 10,
		Old: `redis.call('HINCRBY', KEYS[1], 'token', #entries) - #entries`,
		New: `tonumber(redis.call('HGET', KEYS[1], 'token') or 0)`,
	},
	{
		Name: "claim that does not count attempts", Script: "claim", Seeds: 10,
		Old: `attempt = tonumber(string.match(old[n], '^%d+|(%d+)|')) + 1`,
		New: `attempt = math.max(1, tonumber(string.match(old[n], '^%d+|(%d+)|')))`,
	},
	{
		Name: "takeover without grace", Script: "claim", Seeds: 60,
		Old: `now >= grace and`,
		New: `true and`,
	},
	{
		Name: "takeover before the lease lapsed", Script: "claim", Seeds: 10,
		Old: `consumer, lease, cursor, 'COUNT'`,
		New: `consumer, lease / 4, cursor, 'COUNT'`,
	},
	{
		Name: "takeover without the journal", Script: "claim", Seeds: 10,
		Old: `turns = redis.call('LRANGE', ARGV[4] .. index, 0, -1)`,
		New: `turns = {}`,
	},
	{
		Name: "last attempt beside other jobs", Script: "claim", Seeds: 30, First: 15,
		Old: `return tonumber(string.match(held, '^%d+|(%d+)|')) == maxa - 1`,
		New: `return false`,
	},
	{
		Name: "two last attempts on one worker", Script: "claim", Seeds: 150, First: 15,
		Old: `noted(KEYS[5], 1, 1)`,
		New: `noted(KEYS[5], count, 1)`,
	},
	{
		Name: "job kept to run alone is lost", Script: "claim", Seeds: 30,
		Old: `redis.call('RPUSH', KEYS[5], id .. ' ' .. index .. ' ' .. since)`,
		New: `redis.call('LLEN', KEYS[5])`,
	},
	{
		Name: "release without effect", Script: "release", Seeds: 30,
		Old: `redis.call('HSET', KEYS[1], index, token .. '|' .. attempt .. '|-')
    redis.call('RPUSH', KEYS[2], id .. ' ' .. index .. ' ' .. now)`,
		New: ``,
	},
	{
		Name: "checkpoint without effect", Script: "checkpoint", Seeds: 30,
		Old: `redis.call('RPUSH', KEYS[2], ARGV[4])`,
		New: ``,
	},
	{
		Name: "release without offering the job again", Script: "release", Seeds: 20,
		Old: `redis.call('RPUSH', KEYS[2], id .. ' ' .. index .. ' ' .. now)`,
		New: `redis.call('LLEN', KEYS[2])`,
	},
	{
		Name: "release that spends an attempt", Script: "release", Seeds: 20,
		Old: `attempt = attempt - 1`,
		New: `attempt = attempt + 0`,
	},
	{
		Name: "finish that marks no job as finished", Script: "finish", Seeds: 10,
		Old: `redis.call('SETBIT', KEYS[7], i, 1)`,
		New: `redis.call('GETBIT', KEYS[7], i)`,
	},
	{
		Name: "finish that keeps the lease", Script: "finish", Seeds: 10,
		Old: `redis.call('HDEL', KEYS[4], unpack(indexes))`,
		New: `redis.call('HMGET', KEYS[4], unpack(indexes))`,
	},
	{
		Name: "finish that does not acknowledge", Script: "finish", Seeds: 10,
		Old: `redis.call('XACK', KEYS[3], 'workers', unpack(ids))
  redis.call('XDEL', KEYS[3], unpack(ids))`,
		New: `redis.call('XLEN', KEYS[3])`,
	},
	{
		Name: "finish that counts twice", Script: "finish", Seeds: 10,
		Old: `sums[c] = tonumber(ARGV[1 + c])`,
		New: `sums[c] = 2 * tonumber(ARGV[1 + c])`,
	},
	{
		Name: "finish that counts refused results", Script: "finish", Seeds: 80, First: 6,
		Old: `if out[1 + j] == 1 then`,
		New: `if true then`,
	},
	{
		Name: "feed without the counter", Script: "feed", Seeds: 20,
		Old: `for p = fed, last - 1 do`,
		New: `for p = from, last - 1 do`,
	},
	{
		Name: "feed that takes the place of a job for its index", Script: "feed", Seeds: 40,
		Old: `'i', indexes[p - from + 1] or place, 'p'`,
		New: `'i', place, 'p'`,
	},
	{
		Name: "feed that leaves a gap", Script: "feed", Seeds: 120, First: 41, Forgets: true,
		Old: `if phase ~= 'OPEN' or from > fed then
  return {phase, fed}
end`,
		New: `if phase ~= 'OPEN' then
  return {phase, fed}
end
fed = math.max(fed, from)`,
	},
	{
		Name: "checkpoint that leaves a gap", Script: "checkpoint", Seeds: 40, First: 5, Forgets: true,
		Old: `if turn > have + 1 then`,
		New: `if false then`,
	},
	{
		Name: "results collected without checking the timeline", Seeds: 40, First: 8, Blind: true,
	},
	{
		Name: "checkpoint that accepts repeated turns", Script: "checkpoint", Seeds: 30,
		Old: `if turn <= have then`,
		New: `if false then`,
	},
	{
		Name: "retry that keeps the failed result", Script: "retry", Seeds: 30,
		Old: `redis.call('XDEL', KEYS[5], seq .. '-0')`,
		New: `redis.call('XLEN', KEYS[5])`,
	},
	{
		Name: "cancel that ends the batch immediately", Script: "cancel", Seeds: 60, First: 13,
		Old: `redis.call('HSET', KEYS[1], 'phase', 'CANCELLING')`,
		New: `redis.call('HSET', KEYS[1], 'phase', 'DONE')`,
	},
	{
		Name: "end that queues no reduction", Script: everyScript, Seeds: 10, Reduces: true,
		Old: `if reducer and phase == 'SEALED' then`,
		New: `if false then`,
	},
	{
		Name: "reduction of a cancelled batch", Script: everyScript, Seeds: 60, First: 26, Reduces: true,
		Old: `if reducer and phase == 'SEALED' then`,
		New: `if reducer then`,
	},
	{
		Name: "reduction that never ends after a cancellation", Script: everyScript, Seeds: 60, First: 26, Reduces: true,
		Old: `elseif reducer then`,
		New: `elseif false then`,
	},
	{
		Name: "second reduction beside the running one", Script: everyScript, Seeds: 60, Reduces: true,
		Old: `redis.call('UNLINK', prefix .. 'jobs', prefix .. 'lease', prefix .. 'back',`,
		New: `redis.call('UNLINK', prefix .. 'jobs', prefix .. 'back',`,
	},
	{
		Name: "repeated reduction that keeps the old summary", Script: everyScript, Seeds: 60, Reduces: true,
		Old: `redis.call('XTRIM', prefix .. 'results', 'MAXLEN', 0)`,
		New: `redis.call('XLEN', prefix .. 'results')`,
	},
	{
		Name: "repeated reduction that continues the old journal", Script: everyScript, Seeds: 150, Reduces: true,
		Old: `prefix .. 'failed', prefix .. 'journal:0')`,
		New: `prefix .. 'failed')`,
	},
	{
		Name: "batch created before its reducer", Script: "create", Seeds: 40, First: 11, Reduces: true, Forgets: true,
		Old: `if ARGV[5] ~= '' and redis.call('EXISTS', ARGV[5] .. 'meta') == 0 then`,
		New: `if false then`,
	},
	{
		Name: "claim that gives a job the input of its neighbour", Script: "claim", Seeds: 20,
		Old: `attempt, exhausted, entry[2][4], turns,`,
		New: `attempt, exhausted, entries[1][2][4], turns,`,
	},
	{
		Name: "retry that queues a job with another input", Script: "retry", Seeds: 60,
		Old: `'i', index, 'p', payload, 't'`,
		New: `'i', index, 'p', (string.gsub(payload, '"%d+"', '"0"')), 't'`,
	},
	{
		Name: "calls that begin without room in the budget", Script: "spend", Seeds: 30, Limited: true,
		Old: `code = (not s or fitting(s, tokens, usd) > 0) and 1 or 0`,
		New: `code = 1`,
	},
	{
		Name: "calls that begin after the budget is used up", Script: everyScript, Seeds: 30, First: 22, Limited: true,
		Old: `return s.most > 0 and s.tokens >= s.most or s.dearest > 0 and s.usd >= s.dearest`,
		New: `return false`,
	},
	{
		Name: "reservations that do not count", Script: everyScript, Seeds: 30, Limited: true,
		Old: `(s.most - s.tokens - s.reserved)`,
		New: `(s.most - s.tokens)`,
	},
	{
		Name: "takeover that keeps the reservation", Script: "claim", Seeds: 60, Limited: true,
		Old: `freed = ledger and lapse(l, KEYS[6], index) or freed
      attempt =`,
		New: `attempt =`,
	},
	{
		Name: "release that keeps the reservation", Script: "release", Seeds: 60, Limited: true,
		Old: `freed = ledger and lapse(l, KEYS[4], index) or freed`,
		New: ``,
	},
	{
		Name: "result that keeps the reservation", Script: "finish", Seeds: 20, Limited: true,
		Old: `redis.call('HDEL', KEYS[10], ARGV[index + j])`,
		New: ``,
	},
	{
		Name: "result that counts settled usage again", Script: "finish", Seeds: 20, Limited: true,
		Old: `l[8 + i] = math.max(0, l[8 + i] - math.min(r.used[i], used[1 + i] or 0))`,
		New: `l[8 + i] = l[8 + i]`,
	},
	{
		Name: "call that can be settled twice", Script: "spend", Seeds: 60, Limited: true,
		Old: `r.calls[name] = nil`,
		New: `c.live = false`,
	},
	{
		Name: "remove that leaves the results", Script: "remove", Seeds: 20,
		Old: `redis.call('UNLINK', unpack(KEYS))`,
		New: `redis.call('UNLINK', KEYS[1], KEYS[2])`,
	},
	{
		Name: "bind by which the last model wins", Script: "bind", Seeds: 10, Binds: true,
		Old: `if not bound then`,
		New: `if bound ~= ARGV[1] then`,
	},
	{
		Name: "bind that answers what it was asked", Script: "bind", Seeds: 10, Binds: true,
		Old: `if bound ~= ARGV[1] and ARGV[2] ~= '1' then
  return bound`,
		New: `if bound ~= ARGV[1] and ARGV[2] ~= '1' then
  return ARGV[1]`,
	},
	{
		Name: "bind that lists a model that must not be used", Script: "bind", Seeds: 10, Binds: true,
		Old: `if bound ~= ARGV[1] and ARGV[2] ~= '1' then`,
		New: `if false then`,
	},
}
