package scheduler

import "time"

const (
	// minCeiling is how many requests may always wait in a server: a busy server has so many at any time.
	minCeiling = 8
	// queueKept is how old a reading of a server's queue may be. Older readings are ignored.
	queueKept = 5 * time.Second
)

// ServerQueue is the last number of requests that a server reported, including those of other clients. A negative count was not
// reported.
type ServerQueue struct {
	Running, Waiting int
	Age              time.Duration // since it was read
}

// Full reports whether new agents would only wait in the server: more requests queue than run. Each call that ends admits one
// request, so such a queue lasts for about as long as a call takes (Little's law). A worker that checks more often than that
// never lets the server run dry. Missing and stale readings never count as full.
func (q ServerQueue) Full() bool {
	if q.Waiting < 0 || q.Age < 0 || q.Age > queueKept {
		return false
	}
	return q.Waiting > max(minCeiling, q.Running)
}

// Fresh returns how many of limit agents may start beside live ones. One agent may always live, for two reasons: its request
// makes a server with stale figures update them, and it takes a share of a server that other clients keep full.
func (q ServerQueue) Fresh(live, limit int) int {
	if !q.Full() {
		return limit
	}
	return min(limit, max(1-live, 0))
}
