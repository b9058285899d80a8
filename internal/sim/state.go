package sim

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
)

// keysOf returns the prefix of a batch's keys. It repeats the layout of docs and store, so that the checks do not depend on the
// code under test.
func keysOf(id batch.ID) string {
	if id == reducerID {
		return "ba:{" + string(batchID) + "}:reduce:"
	}
	return "ba:{" + string(id) + "}:"
}

// batch returns the batch of a script, or "" if it belongs to none.
func (c call) batch() batch.ID {
	for _, id := range []batch.ID{reducerID, batchID} { // the reducer first: its keys begin with the batch's prefix
		if len(c.keys) > 0 && strings.HasPrefix(c.keys[0], keysOf(id)) {
			return id
		}
	}
	return ""
}

// state is the data of a batch in Redis, read at rest and without the simulated network.
type state struct {
	exists                bool
	phase                 batch.Phase
	fed, total            int
	skipped               bool // a reduction without anything to reduce
	ok, failed, cancelled int
	token                 int64
	takeovers             int
	lease                 map[int]fence
	stream                map[string]int // entry ID -> index
	pending               map[string]string
	back, alone           []string        // "entry index"
	parked                map[string]span // worker -> its parked jobs
	delivered             position        // the last entry that a claim has read
	results               []resultEntry
	finished              map[int]bool
	retryable             map[int]bool // indexes in the failed hash
	account               accountState
	binding               binding
}

type resultEntry struct {
	seq, index int
	status     batch.Status
	line       string
}

// fence is one value of the lease hash.
type fence struct {
	token   int64
	attempt int
	holder  string // "-" without a holder
}

func (f fence) String() string { return fmt.Sprintf("%d|%d|%s", f.token, f.attempt, f.holder) }

func (f fence) held() bool { return f.holder != "-" && f.holder != "" }

func parseFence(s string) fence {
	p := strings.SplitN(s, "|", 3)
	if len(p) != 3 {
		return fence{}
	}
	return fence{token: int64(number(p[0])), attempt: number(p[1]), holder: p[2]}
}

// read returns the state of a batch.
func (s *server) read(id batch.ID) (*state, error) {
	keyPrefix := keysOf(id)
	v, err := s.ask(
		[]string{"HGETALL", keyPrefix + "meta"},
		[]string{"HGETALL", keyPrefix + "lease"},
		[]string{"XRANGE", keyPrefix + "jobs", "-", "+"},
		[]string{"XPENDING", keyPrefix + "jobs", "workers", "-", "+", "100000"},
		[]string{"LRANGE", keyPrefix + "back", "0", "-1"},
		[]string{"XRANGE", keyPrefix + "results", "-", "+"},
		[]string{"GET", keyPrefix + "finished"},
		[]string{"HKEYS", keyPrefix + "failed"},
		[]string{"LRANGE", keyPrefix + "alone", "0", "-1"},
		[]string{"HGETALL", keyPrefix + "calls"},
		[]string{"HGETALL", keyPrefix + "parked"},
		[]string{"XINFO", "GROUPS", keyPrefix + "jobs"},
	)
	if err != nil {
		return nil, err
	}
	st := &state{
		lease: make(map[int]fence), stream: make(map[string]int), pending: make(map[string]string),
		finished: make(map[int]bool), retryable: make(map[int]bool),
	}
	st.readMeta(pairs(v[0]))
	for index, f := range pairs(v[1]) {
		if n, err := strconv.Atoi(index); err == nil { // other fields are notes of the scripts
			st.lease[n] = parseFence(f)
		}
	}
	for id, fields := range entries(v[2]) {
		st.stream[id] = number(fields["i"])
	}
	list, _ := v[3].([]any)
	for _, p := range list {
		w := words(p)
		st.pending[w[0]] = w[1]
	}
	st.back = notes(v[4])
	for id, fields := range entries(v[5]) {
		seq, _, _ := strings.Cut(id, "-")
		st.results = append(st.results, resultEntry{
			seq: number(seq), index: number(fields["i"]), status: batch.Status(fields["s"]), line: fields["r"],
		})
	}
	bits, _ := v[6].(string)
	for i := range len(bits) * 8 {
		if bits[i/8]&(1<<(7-i%8)) != 0 {
			st.finished[i] = true
		}
	}
	for _, index := range words(v[7]) {
		st.retryable[number(index)] = true
	}
	st.alone = notes(v[8])
	st.readParked(v[10], v[11])
	st.account = readAccount(pairs(v[0]), pairs(v[9]))
	return st, nil
}

// equal compares two states. Two states without a batch are equal.
func (st *state) equal(other *state) bool {
	return !st.exists && !other.exists || reflect.DeepEqual(st, other)
}

func (st *state) readMeta(m map[string]string) {
	st.exists, st.binding = len(m) > 0, readBinding(m)
	st.phase = batch.Phase(m["phase"])
	st.fed, st.total, st.skipped = number(m["fed"]), number(m["total"]), m["skipped"] != ""
	st.ok, st.failed, st.cancelled = number(m["ok"]), number(m["failed"]), number(m["cancelled"])
	st.token, st.takeovers = int64(number(m["token"])), number(m["takeovers"])
}

// progress returns the phase and the number of failed jobs that a retry would run.
func (s *server) progress(id batch.ID) (phase batch.Phase, failed int64, err error) {
	v, err := s.ask([]string{"HGET", keysOf(id) + "meta", "phase"}, []string{"HLEN", keysOf(id) + "failed"})
	if err != nil {
		return "", 0, err
	}
	p, _ := v[0].(string)
	failed, _ = v[1].(int64)
	return batch.Phase(p), failed, nil
}

// journal returns one job's turns.
func (s *server) journal(id batch.ID, index int) ([]string, error) {
	v, err := s.ask([]string{"LRANGE", journalKey(id, index), "0", "-1"})
	if err != nil {
		return nil, err
	}
	return words(v[0]), nil
}

func journalKey(id batch.ID, index int) string { return keysOf(id) + "journal:" + strconv.Itoa(index) }

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func pairs(v any) map[string]string {
	w := words(v)
	out := make(map[string]string, len(w)/2)
	for i := 0; i+1 < len(w); i += 2 {
		out[w[i]] = w[i+1]
	}
	return out
}

// entries yields the entries of a stream in order.
func entries(v any) func(yield func(id string, fields map[string]string) bool) {
	return func(yield func(string, map[string]string) bool) {
		list, _ := v.([]any)
		for _, e := range list {
			e, _ := e.([]any)
			if len(e) != 2 {
				continue
			}
			id, _ := e[0].(string)
			if !yield(id, pairs(e[1])) {
				return
			}
		}
	}
}

// notes returns the jobs in a list, without the time at which they entered it.
func notes(v any) []string {
	out := words(v)
	for i, note := range out {
		if f := strings.Fields(note); len(f) == 3 {
			out[i] = f[0] + " " + f[1]
		}
	}
	return out
}
