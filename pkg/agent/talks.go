package agent

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/plainjson"
)

// maxTalks limits the conversations of one program that are told apart. Further ones count as the oldest.
const maxTalks = 32

// talks distinguishes the conversations of one program: those of its main agent and of its sub-agents. A request continues the conversation whose
// last request is the longest beginning of its messages. Safe for concurrent use.
type talks struct {
	job string

	mu    sync.Mutex
	known []*talk // guarded by mu
	clock int     // guarded by mu
}

// talk is one conversation.
type talk struct {
	session string            // its name at the server
	last    [sha256.Size]byte // hash of the messages of its last request
	length  int               // number of these messages
	busy    bool              // a request is under way
	used    int               // the time of the last use
}

func newTalks(job string) *talks { return &talks{job: job} }

// find returns the session of the conversation that the messages continue, or of a new one. Two requests under way never have the
// same conversation, unless there are too many. The caller calls release when the request has ended.
func (t *talks) find(messages []backend.Message) (session string, release func()) {
	chain := make([][sha256.Size]byte, len(messages)+1)
	for i, m := range messages {
		text, _ := plainjson.Marshal(m) // a message always encodes
		chain[i+1] = sha256.Sum256(append(chain[i][:], text...))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *talk
	for _, k := range t.known {
		if !k.busy && k.length <= len(messages) && k.last == chain[k.length] && (best == nil || k.length > best.length) {
			best = k
		}
	}
	if best == nil && len(t.known) < maxTalks {
		best = &talk{session: t.job}
		if len(t.known) > 0 {
			best.session = fmt.Sprintf("%s~%d", t.job, len(t.known))
		}
		t.known = append(t.known, best)
	}
	if best == nil {
		best = t.known[0]
		for _, k := range t.known {
			if k.used < best.used {
				best = k
			}
		}
	}
	t.clock++
	best.last, best.length, best.busy, best.used = chain[len(messages)], len(messages), true, t.clock
	return best.session, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		best.busy = false
	}
}
