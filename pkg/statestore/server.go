package statestore

import "context"

// Version is what Redis says of its version, as 7.0.15; "" if it does not say.
func (s *Store) Version(ctx context.Context) (string, error) {
	info := s.cmd.InfoMap(ctx, "server")
	if err := info.Err(); err != nil {
		return "", classify("ask Redis at "+s.address+" for its version", err)
	}
	return info.Item("Server", "redis_version"), nil
}
