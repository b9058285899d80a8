package statestore

import (
	"bufio"
	"context"
	"strings"
)

// Version is what Redis says of its version, as 7.0.15; "" if it does not say.
func (s *Store) Version(ctx context.Context) (string, error) {
	info, err := s.cmd.Info(ctx, "server").Result()
	if err != nil {
		return "", classify("ask Redis at "+s.address+" for its version", err)
	}
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "redis_version:"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", nil
}
