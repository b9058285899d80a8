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
	Old    string // must occur exactly once in the script, which includes its parts
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
	// Grouped feeds the jobs in groups.
	Grouped bool
	// Programs plays full runs only, in which a program is the agent.
	Programs bool
	// Clocks removes the skew of Redis: only the clocks of the processes are off.
	Clocks bool
}

// everyScript means each script that contains Old. It breaks a part that several scripts have.
const everyScript = "*"

// concerns reports whether the mutant breaks this script.
func (m *Mutant) concerns(script, text string) bool {
	return m.Script == script || m.Script == everyScript && strings.Contains(text, m.Old)
}

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
		Name: "finish without the fence", Script: "finish", Seeds: 150, First: 17, Stalls: true,
		Old: `if leases[j] ~= fence[j] then`,
		New: `if redis.call('GETBIT', k.finished, i) == 1 then`,
	},
	{
		Name: "checkpoint without the fence", Script: "checkpoint", Seeds: 80, First: 14,
		Old: `if leases[j] == args.fence[j] then`,
		New: `if leases[j] then`,
	},
	{
		Name: "renew without the token", Script: "renew", Seeds: 80,
		Old: `if fenced(index, args.fence[n]) then`,
		New: `if index == '' then`, // the embedded server's Lua cannot compile a constant before else
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
		Old: `if not fenced(index, fence) then`,
		New: `if redis.call('HGET', k.lease, index) then`,
	},
	{
		Name: "acknowledge before commit", Script: "claim", Seeds: 10,
		Old: `leases[2 * n - 1] = index`,
		New: `leases[2 * n - 1] = index
    redis.call('XACK', k.jobs, 'workers', entry[1])`,
	},
	{
		Name: "acknowledge and delete before commit", Script: "claim", Seeds: 10,
		Old: `leases[2 * n - 1] = index`,
		New: `leases[2 * n - 1] = index
    redis.call('XACK', k.jobs, 'workers', entry[1])
    redis.call('XDEL', k.jobs, entry[1])`,
	},
	{
		Name: "claim that reuses the last token", Script: "claim", Seeds: 10,
		Old: `redis.call('HINCRBY', k.meta, 'token', #entries) - #entries`,
		New: `tonumber(redis.call('HGET', k.meta, 'token') or 0)`,
	},
	{
		Name: "claim that does not count attempts", Script: "claim", Seeds: 10,
		Old: `attempt = last + 1`,
		New: `attempt = math.max(1, tonumber(last))`,
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
		Old: `turns = redis.call('LRANGE', journal_key(k, index), 0, -1)`,
		New: `turns = {}`,
	},
	{
		Name: "last attempt beside other jobs", Script: "claim", Seeds: 30, First: 15,
		Old: `return attempts > 1 and phase ~= 'CANCELLING' and tonumber(attempt) == attempts - 1`,
		New: `return false`,
	},
	{
		Name: "two last attempts on one worker", Script: "claim", Seeds: 150, First: 15,
		Old: `take_waiting(k.alone, 1, 1)`,
		New: `take_waiting(k.alone, count, 1)`,
	},
	{
		Name: "job kept to run alone is lost", Script: "claim", Seeds: 30,
		Old: `let_go(k.alone, id, index, token, attempt, since)`,
		New: `redis.call('HSET', k.lease, index, lease_text(token, attempt, '-'))`,
	},
	{
		Name: "release without effect", Script: "release", Seeds: 30,
		Old: `let_go(k.back, id, index, token, attempt, now)`,
		New: ``,
	},
	{
		Name: "call of a program journalled without its key", Script: "checkpoint", Seeds: 30, Programs: true,
		Old: `redis.call('RPUSH', journal, ARGV[1 + j])`,
		New: `redis.call('RPUSH', journal, (string.gsub(ARGV[1 + j], '"key":"[^"]*"', '"key":"lost"')))`,
	},
	{
		Name: "checkpoint without effect", Script: "checkpoint", Seeds: 30,
		Old: `redis.call('RPUSH', journal, ARGV[1 + j])`,
		New: ``,
	},
	{
		Name: "release without offering the job again", Script: "release", Seeds: 20,
		Old: `let_go(k.back, id, index, token, attempt, now)`,
		New: `redis.call('HSET', k.lease, index, lease_text(token, attempt, '-'))`,
	},
	{
		Name: "release that spends an attempt", Script: "release", Seeds: 20,
		Old: `attempt = attempt - 1`,
		New: `attempt = attempt + 0`,
	},
	{
		Name: "finish that marks no job as finished", Script: "finish", Seeds: 10,
		Old: `redis.call('SETBIT', k.finished, i, 1)`,
		New: `redis.call('GETBIT', k.finished, i)`,
	},
	{
		Name: "finish that keeps the lease", Script: "finish", Seeds: 10,
		Old: `redis.call('HDEL', k.lease, unpack(fields))`,
		New: `redis.call('HMGET', k.lease, unpack(fields))`,
	},
	{
		Name: "finish that does not acknowledge", Script: "finish", Seeds: 10,
		Old: `redis.call('XACK', k.jobs, 'workers', unpack(ids))
  redis.call('XDEL', k.jobs, unpack(ids))`,
		New: `redis.call('XLEN', k.jobs)`,
	},
	{
		Name: "finish that counts twice", Script: "finish", Seeds: 10,
		Old: `local totals = args.totals`,
		New: `local totals = args.totals
for c = 1, 11 do
  totals[c] = 2 * totals[c]
end`,
	},
	{
		Name: "finish that counts refused results", Script: "finish", Seeds: 80, First: 6,
		Old: `if out[1 + j] == 1 then`,
		New: `if true then`,
	},
	{
		Name: "feed without the counter", Script: "feed", Seeds: 20,
		Old: `if total > fed then
  fed = queue_jobs(k.jobs, fed, total,`,
		New: `if true then
  fed = queue_jobs(k.jobs, from, total,`,
	},
	{
		Name: "feed that takes the position of a job for its index", Script: "feed", Seeds: 40,
		Old: `indexes and indexes[p - base + 1] or position, ARGV`,
		New: `position, ARGV`,
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
		Old: `if turn == have + 1 then`,
		New: `if turn > have then`,
	},
	{
		Name: "results collected without checking the timeline", Seeds: 40, First: 8, Blind: true,
	},
	{
		Name: "checkpoint that accepts repeated turns", Script: "checkpoint", Seeds: 30,
		Old: `if turn == have + 1 then`,
		New: `if turn <= have + 1 then`,
	},
	{
		Name: "retry that keeps the failed result", Script: "retry", Seeds: 30,
		Old: `redis.call('XDEL', k.results, seq .. '-0')`,
		New: `redis.call('XLEN', k.results)`,
	},
	{
		Name: "cancel that ends the batch immediately", Script: "cancel", Seeds: 60, First: 13,
		Old: `redis.call('HSET', k.meta, 'phase', 'CANCELLING')`,
		New: `redis.call('HSET', k.meta, 'phase', 'DONE')`,
	},
	{
		Name: "end that queues no reduction", Script: everyScript, Seeds: 10, Reduces: true,
		Old: `if reduce_stage and phase == 'SEALED' then`,
		New: `if false then`,
	},
	{
		Name: "reduction of a cancelled batch", Script: everyScript, Seeds: 60, First: 26, Reduces: true,
		Old: `if reduce_stage and phase == 'SEALED' then`,
		New: `if reduce_stage then`,
	},
	{
		Name: "reduction that never ends after a cancellation", Script: everyScript, Seeds: 60, First: 26, Reduces: true,
		Old: `elseif reduce_stage then`,
		New: `elseif false then`,
	},
	{
		Name: "second reduction beside the running one", Script: everyScript, Seeds: 60, Reduces: true,
		Old: `redis.call('UNLINK', r.jobs, r.lease, r.back,`,
		New: `redis.call('UNLINK', r.jobs, r.back,`,
	},
	{
		Name: "repeated reduction that keeps the old summary", Script: everyScript, Seeds: 60, Reduces: true,
		Old: `redis.call('XTRIM', r.results, 'MAXLEN', 0)`,
		New: `redis.call('XLEN', r.results)`,
	},
	{
		Name: "repeated reduction that continues the old journal", Script: everyScript, Seeds: 150, Reduces: true,
		Old: `r.failed, journal_key(r, 0))`,
		New: `r.failed)`,
	},
	{
		Name: "batch created before its reducer", Script: "create", Seeds: 40, First: 11, Reduces: true, Forgets: true,
		Old: `if args.needs ~= '' and redis.call('EXISTS', args.needs .. 'meta') == 0 then`,
		New: `if false then`,
	},
	{
		Name: "claim that gives a job the input of its neighbour", Script: "claim", Seeds: 20,
		Old: `attempt, exhausted, payload, turns,`,
		New: `attempt, exhausted, entries[1][2][4], turns,`,
	},
	{
		Name: "retry that queues a job with another input", Script: "retry", Seeds: 60,
		Old: `n, index, payload, now_ms())`,
		New: `n, index, (string.gsub(payload, '"%d+"', '"0"')), now_ms())`,
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
		Old: `free(index)
      local _, last`,
		New: `local _, last`,
	},
	{
		Name: "release that keeps the reservation", Script: "release", Seeds: 60, Limited: true,
		Old: `freed = ledger and lapse(account, index) or freed`,
		New: ``,
	},
	{
		Name: "result that keeps the reservation", Script: "finish", Seeds: 20, Limited: true,
		Old: `redis.call('HDEL', k.calls, index[j])`,
		New: ``,
	},
	{
		Name: "result that counts settled usage again", Script: "finish", Seeds: 20, Limited: true,
		Old: `account.pending[i] = math.max(0, account.pending[i] - math.min(part.used[i], used[1 + i] or 0))`,
		New: ``,
	},
	{
		Name: "call that can be settled twice", Script: "spend", Seeds: 60, Limited: true,
		Old: `part.calls[ended.call] = nil`,
		New: `c.live = false`,
	},
	{
		Name: "remove that leaves the results", Script: "remove", Seeds: 20,
		Old: `redis.call('UNLINK', k[name])`,
		New: `redis.call(name == 'results' and 'XLEN' or 'UNLINK', k[name])`,
	},
	{
		Name: "parked jobs lost when their worker releases a job", Script: "release", Seeds: 30, First: 8, Grouped: true,
		Old: `keep_parked(worker, first, last, 0)`,
		New: `redis.call('HDEL', k.parked, worker)`,
	},
	{
		Name: "rest of a group that is read and not parked", Script: "claim", Seeds: 10, Grouped: true,
		Old: `keep_parked(consumer, from, from + #entries - 1, now)`,
		New: ``,
	},
	{
		Name: "parked jobs of a dead worker that wait for the last new job", Script: "claim", Seeds: 60, First: 16, Grouped: true,
		Old: `take_abandoned(now - lease)`,
		New: `take_abandoned(-1)`,
	},
	{
		Name: "parked jobs that only their owner takes", Script: "claim", Seeds: 30, Grouped: true,
		Old: `if count > 0 and open and grouped then`,
		New: `if count == -1 then`,
	},
	{
		Name: "parked jobs of a living worker taken before new ones", Script: "claim", Seeds: 30, Grouped: true,
		Old: `take_abandoned(now - lease)`,
		New: `take_abandoned(now)`,
	},
	{
		Name: "renewal that is no sign of life", Script: "renew", Seeds: 60, First: 20, Grouped: true,
		Old: `renew_parked(args.consumer, now)`,
		New: ``,
	},
	{
		Name: "parked job that is leased twice", Script: "claim", Seeds: 10, Grouped: true,
		Old: `keep_parked(worker, from + n, to, seen)`,
		New: `keep_parked(worker, from, to, seen)`,
	},
	{
		Name: "parked jobs with two owners", Script: "claim", Seeds: 30, Grouped: true,
		Old: `keep_parked(worker, from, middle, seen)`,
		New: ``,
	},
	{
		Name: "bind by which the last model wins", Script: "bind", Seeds: 10, Binds: true,
		Old: `if not bound then`,
		New: `if bound ~= args.model then`,
	},
	{
		Name: "bind that answers what it was asked", Script: "bind", Seeds: 10, Binds: true,
		Old: `if bound ~= args.model and not args.any_model then
  return bound`,
		New: `if bound ~= args.model and not args.any_model then
  return args.model`,
	},
	{
		Name: "bind that lists a model that must not be used", Script: "bind", Seeds: 10, Binds: true,
		Old: `if bound ~= args.model and not args.any_model then`,
		New: `if false then`,
	},
}
