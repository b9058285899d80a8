package toolpool

import (
	"fmt"
	"slices"
	"time"
)

// Share is a tool's own declaration of who may share one execution of a call.
type Share string

// The sharing windows, the widest first.
const (
	Pure     Share = "pure"     // same arguments, same result, for ever: cache freely
	ForTTL   Share = "ttl"      // a result may be reused for Tool.TTL
	Inflight Share = "inflight" // only callers that overlap in time share
	Effect   Share = "effect"   // has side effects: never shared, never repeated blindly
)

var widestFirst = []Share{Pure, ForTTL, Inflight, Effect}

// Narrow gives the sharing of a tool for calls that ask for less of it: share or ttl, or both; zero values leave the
// tool's own. What would widen the sharing is an error, and comes back as the tool's own.
func Narrow(t Tool, share Share, ttl time.Duration) (Share, time.Duration, error) {
	if share == "" {
		share = t.Share
		if ttl > 0 && t.Share == Pure {
			share = ForTTL
		}
	}
	own, asked := slices.Index(widestFirst, t.Share), slices.Index(widestFirst, share)
	switch {
	case asked < 0:
		return t.Share, t.TTL, fmt.Errorf("tool %s: unknown share %q: use %s, %s, %s or %s", t.Name, share, Pure, ForTTL, Inflight, Effect)
	case asked < own:
		return t.Share, t.TTL, fmt.Errorf("tool %s: its operator shares it as %s, and share: %s would be wider", t.Name, t.Share, share)
	case share != ForTTL:
		return share, 0, nil
	case t.Share == ForTTL && ttl > t.TTL:
		return t.Share, t.TTL, fmt.Errorf("tool %s: its operator keeps results for %s, and ttl: %s would be longer", t.Name, t.TTL, ttl)
	case ttl <= 0 && t.Share == ForTTL:
		return share, t.TTL, nil
	case ttl <= 0:
		return t.Share, t.TTL, fmt.Errorf("tool %s: share: ttl needs a ttl, such as 60s", t.Name)
	}
	return share, ttl, nil
}
