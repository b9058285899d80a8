package statestore

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Version returns the version that Redis reports, such as 7.0.15, or "" if it reports none.
func (s *Store) Version(ctx context.Context) (string, error) {
	info := s.cmd.InfoMap(ctx, "server")
	if err := info.Err(); err != nil {
		return "", classify("ask Redis at "+s.address+" for its version", err)
	}
	return info.Item("Server", "redis_version"), nil
}

// connectionOf returns a new connection to the server of a key, and the server's address.
func (s *Store) connectionOf(ctx context.Context, key string) (connection, string, error) {
	var node *redis.Client
	switch c := s.cmd.(type) {
	case *redis.Client:
		node = c
	case *redis.ClusterClient:
		var err error
		if node, err = c.MasterForKey(ctx, key); err != nil {
			return nil, "", err
		}
	default:
		return nil, "", fmt.Errorf("a client of type %T has no connections of its own", s.cmd)
	}
	address := node.Options().Addr
	if address == "FailoverClient" { // the library's placeholder for the primary that the sentinels name
		address = s.address
	}
	return node.Conn(), address, nil
}

// sections reads sections of INFO one at a time, because servers before 7.0 accept only one per call.
func sections(ctx context.Context, conn connection, names ...string) (map[string]string, error) {
	out := make(map[string]string)
	for _, name := range names {
		text, err := conn.Info(ctx, name).Result()
		if err != nil {
			return nil, err
		}
		maps.Copy(out, parseInfo(text))
	}
	return out, nil
}

// parseInfo returns the fields of an answer to INFO.
func parseInfo(text string) map[string]string {
	out := make(map[string]string)
	for line := range strings.Lines(text) {
		if field, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[field] = value
		}
	}
	return out
}
