package scheduler

import "time"

const (
	// minCeiling is how many requests may always wait in a server: less is the coming and going of a busy one.
	minCeiling = 8
	// queueKept is how long a reading of a server's queue is believed.
	queueKept = 5 * time.Second
)

// ServerQueue is what a server last said of its requests, those of other clients included. Negative counts are ones that
// it does not report.
type ServerQueue struct {
	Running, Waiting int
	Age              time.Duration // since it was read
}

// Full reports whether fresh agents would only wait in the server: more requests queue than run. Each call that ends lets
// one in, so that such a queue lasts for about as long as a call takes (Little's law), and whoever looks more often than
// that never lets the server run dry. What is not known, or was read too long ago, holds nobody back.
func (q ServerQueue) Full() bool {
	if q.Waiting < 0 || q.Age < 0 || q.Age > queueKept {
		return false
	}
	return q.Waiting > max(minCeiling, q.Running)
}

// Fresh is how many of limit agents may start beside live ones. One may always live: its request makes a server look
// anew whose figures stand still, and a server that others keep full is shared with them.
func (q ServerQueue) Fresh(live, limit int) int {
	if !q.Full() {
		return limit
	}
	return min(limit, max(1-live, 0))
}
