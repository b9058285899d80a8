package statestore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

var (
	// ErrNotDurable: the server cannot confirm that a write survives the loss of the server.
	ErrNotDurable = errors.New("the server cannot confirm durability")
	// ErrNotYet: the server did not confirm durability in time. The write happened; call again.
	ErrNotYet = errors.New("durability is not confirmed yet")
)

// safety is one server's protection against the loss of writes, as INFO and its configuration report it.
type safety struct {
	address  string
	version  string
	replicas int  // connected, and past their first synchronisation
	aof      bool // the server keeps an append-only file
	always   bool // the server syncs that file before it replies
}

// waitAOF reports whether the server supports WAITAOF: Redis from 7.2 on, and every Valkey.
func (s safety) waitAOF() bool {
	var major, minor int
	_, err := fmt.Sscanf(s.version, "%d.%d", &major, &minor)
	return err == nil && (major > 7 || major == 7 && minor >= 2)
}

// why returns the reason why the server cannot make a write durable, or nil if it can.
func (s safety) why() error {
	switch {
	case s.replicas > 0 || s.always || s.aof && s.waitAOF():
		return nil
	case s.aof:
		return fmt.Errorf("%w: Redis %s at %s has no replica, and cannot report when its append-only file is on disk (7.2 can); "+
			"attach a replica, set appendfsync always, or submit without durable", ErrNotDurable, s.version, s.address)
	default:
		return fmt.Errorf("%w: Redis %s at %s has no replica and no append-only file; attach a replica, set appendonly yes, or submit without durable",
			ErrNotDurable, s.version, s.address)
	}
}

// DurableNow checks that the servers can make a batch durable. ErrNotDurable: they cannot; its text contains the remedy.
func (s *Store) DurableNow(ctx context.Context) error {
	if c, ok := s.cmd.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			conn := c.Conn()
			defer conn.Close()
			return s.able(ctx, conn, c.Options().Addr)
		})
	}
	conn, address, err := s.connectionOf(ctx, keyActive)
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.able(ctx, conn, address)
}

func (s *Store) able(ctx context.Context, conn connection, address string) error {
	have, err := s.safetyOf(ctx, conn, address)
	if err != nil {
		return err
	}
	return have.why()
}

// Durable waits until a sealed batch of total jobs survives the loss of its server: until it is in the memory of every
// connected replica, and on the server's own disk if the server keeps an append-only file and can report its sync. In a Redis
// Cluster another server may hold the workers' list of active batches; Durable waits for that server too. where describes the
// copies of the batch, for people.
//
// ErrNotYet: the time within has passed. ErrNotDurable. ErrNotFound and ErrConflict: a failover lost the batch, or some of its
// jobs; Feed and Seal restore them. Repeatable.
func (s *Store) Durable(ctx context.Context, id batch.ID, total int64, within time.Duration) (where string, err error) {
	op := "make batch " + string(id) + " durable"
	where, err = s.settle(ctx, op, keyMeta(id), within, func(conn connection) error {
		v, err := s.callOn(ctx, conn, op, s.scripts.touch, allKeys(id), named{})
		if err != nil {
			return err
		}
		r := reply{v}
		switch phase := batch.Phase(r.at(0).str()); {
		case phase == "":
			return fmt.Errorf("%s: %w", op, ErrNotFound)
		case phase == batch.Open || r.at(1).num() != total:
			return fmt.Errorf("%s: %w: a failover forgot some of its jobs", op, ErrConflict)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	// Removing a member and adding it back in one transaction is a write that no reader notices. Workers remove the batch from
	// the list again if it is done.
	_, err = s.settle(ctx, op, keyActive, within, func(conn connection) error {
		_, err := conn.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.SRem(ctx, keyActive, string(id))
			p.SAdd(ctx, keyActive, string(id))
			return nil
		})
		return classify(op, err)
	})
	return where, err
}

// settle writes on one connection to the server of a key. It then waits on the same connection until this write and all earlier
// ones are safe.
func (s *Store) settle(ctx context.Context, op, key string, within time.Duration, write func(connection) error) (string, error) {
	deadline := time.Now().Add(within)
	conn, address, err := s.connectionOf(ctx, key)
	if err != nil {
		return "", classify(op, err)
	}
	defer conn.Close()
	have, err := s.safetyOf(ctx, conn, address)
	if err != nil {
		return "", err
	}
	if err := have.why(); err != nil {
		return "", err
	}
	if err := write(conn); err != nil {
		return "", err
	}
	left := func() time.Duration { return atLeastOneMS(time.Until(deadline)) }
	var where []string
	if have.replicas > 0 {
		n, err := conn.Wait(ctx, have.replicas, left()).Result()
		if err != nil {
			return "", classify(op, err)
		}
		if int(n) < have.replicas {
			return "", fmt.Errorf("%s: %w: %d of %d replicas of Redis at %s have it after %v", op, ErrNotYet, n, have.replicas, address, within)
		}
		where = append(where, fmt.Sprintf("in the memory of %d of %[1]d replicas", have.replicas))
	}
	switch {
	case have.always:
		where = append(where, "on the disk of "+address)
	case have.aof && have.waitAOF():
		n, err := conn.WaitAOF(ctx, 1, 0, left()).Result()
		if err != nil {
			return "", classify(op, err)
		}
		if len(n) == 0 || n[0] < 1 {
			return "", fmt.Errorf("%s: %w: Redis at %s has not synced its append-only file after %v", op, ErrNotYet, address, within)
		}
		where = append(where, "on the disk of "+address)
	case have.aof:
		where = append(where, fmt.Sprintf("soon on the disk of %s (Redis %s cannot report when)", address, have.version))
	}
	return strings.Join(where, ", "), nil
}

func (s *Store) safetyOf(ctx context.Context, conn connection, address string) (safety, error) {
	have := safety{address: address}
	info, err := sections(ctx, conn, "server", "replication", "persistence")
	if err != nil {
		return have, classify("ask Redis at "+address+" how it keeps data", err)
	}
	have.version, have.aof = info["redis_version"], info["aof_enabled"] == "1"
	for name, value := range info {
		// slave0, slave1, …; other fields start with the same word.
		if _, err := strconv.Atoi(strings.TrimPrefix(name, "slave")); err == nil && strings.Contains(value, "state=online") {
			have.replicas++
		}
	}
	// WAITAOF makes the setting irrelevant where it exists. A server that hides its configuration is assumed to sync later.
	if have.aof && !have.waitAOF() {
		if m, err := conn.ConfigGet(ctx, "appendfsync").Result(); err == nil {
			have.always = m["appendfsync"] == "always"
		}
	}
	return have, nil
}
