package toolpool

import (
	"fmt"
	"slices"
	"time"
)

// Share declares which calls of a tool may share one execution.
type Share string

// The sharing windows, the widest first.
const (
	Pure     Share = "pure"     // same arguments give the same result at any time: cache freely
	ForTTL   Share = "ttl"      // a result may be reused for Tool.TTL
	Inflight Share = "inflight" // only callers that overlap in time share
	Effect   Share = "effect"   // has side effects: never shared, never repeated blindly
)

var widestFirst = []Share{Pure, ForTTL, Inflight, Effect}

// Narrow returns the sharing window of a tool for calls that request a narrower one by share, ttl or both. Zero
// values keep the tool's own window. For a wider window, Narrow returns the tool's own and an error.
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
