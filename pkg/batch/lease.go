package batch

import (
	"fmt"
	"strconv"
	"strings"
)

// Lease is the right to run a job now. A claim returns it, and every later write must carry it.
//
// A lease has no local deadline on purpose: only Redis' clock decides when it expires. The holder renews it well before that,
// and stops at once when a call of the store returns that it is fenced.
type Lease struct {
	Job     Job
	Entry   string // entry ID in the batch's job stream
	Token   int64  // fencing token: grows with every claim in the batch, never used twice
	Attempt int    // 1 for the first attempt; a released lease gives its attempt back
	Holder  string // consumer name of the worker process, unique for every start of a process
}

// Fence returns the value that Redis holds for a live lease. Every script compares it byte for byte before it writes (I1).
func (l Lease) Fence() string { return fmt.Sprintf("%d|%d|%s", l.Token, l.Attempt, l.Holder) }

// ParseFence returns attempt and holder of a fence. ok is false if the text is no fence, or no worker holds the job.
func ParseFence(text string) (attempt int, holder string, ok bool) {
	parts := strings.SplitN(text, "|", 3)
	if len(parts) != 3 || parts[2] == "-" {
		return 0, "", false
	}
	attempt, err := strconv.Atoi(parts[1])
	return attempt, parts[2], err == nil
}

// String returns the name of the lease in logs and errors.
func (l Lease) String() string { return fmt.Sprintf("%s token %d", l.Job, l.Token) }
