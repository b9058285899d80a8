package testredis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// MasterName is the name of the primary in the sentinels.
const MasterName = "batches"

// Watched is a primary with one replica, monitored by sentinels.
type Watched struct {
	Primary, Replica *Process
	Sentinels        []*Process
}

// Sentinel starts a primary, a replica and n sentinels with a majority quorum. It returns once every sentinel knows all of them.
func Sentinel(t testing.TB, n int) Watched {
	t.Helper()
	var w Watched
	w.Primary = Server(t, Config("repl-diskless-sync-delay", "0"))
	w.Replica = Server(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*startWithin)
	defer cancel()
	if err := w.Replica.Client().ReplicaOf(ctx, "127.0.0.1", strconv.Itoa(w.Primary.port)).Err(); err != nil {
		t.Fatalf("make %s a replica: %v", w.Replica.Addr(), err)
	}
	primary := w.Primary.Client()
	waitFor(ctx, t, "the replica", func() error {
		info, err := primary.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "state=online") {
			err = errors.New("it is not in sync yet")
		}
		return err
	})
	for range n {
		s := newProcess(t)
		s.sentinel = filepath.Join(s.dir, "sentinel.conf")
		conf := fmt.Sprintf("bind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %d %d\n"+
			"sentinel down-after-milliseconds %[2]s 1000\nsentinel failover-timeout %[2]s 5000\n",
			s.dir, MasterName, w.Primary.port, n/2+1)
		if err := os.WriteFile(s.sentinel, []byte(conf), 0o600); err != nil {
			t.Fatalf("write the configuration of a sentinel: %v", err)
		}
		s.start()
		w.Sentinels = append(w.Sentinels, s)
	}
	for _, s := range w.Sentinels {
		c := s.Client()
		waitFor(ctx, t, "a sentinel", func() error {
			m, err := c.Do(ctx, "SENTINEL", "CKQUORUM", MasterName).Result()
			if err != nil {
				return err
			}
			replicas, err := c.Do(ctx, "SENTINEL", "REPLICAS", MasterName).Slice()
			if err == nil && len(replicas) != 1 {
				err = fmt.Errorf("it knows %d replicas: %v", len(replicas), m)
			}
			others, e := c.Do(ctx, "SENTINEL", "SENTINELS", MasterName).Slice()
			if e == nil && len(others) != n-1 {
				e = fmt.Errorf("it knows %d other sentinels", len(others))
			}
			return errors.Join(err, e)
		})
	}
	return w
}

// URL returns the address that lists the sentinels.
func (w Watched) URL() string {
	addrs := make([]string, len(w.Sentinels))
	for i, s := range w.Sentinels {
		addrs[i] = s.Addr()
	}
	return "redis-sentinel://" + strings.Join(addrs, ",") + "?master_name=" + MasterName
}

func waitFor(ctx context.Context, t testing.TB, what string, try func() error) {
	t.Helper()
	if err := poll(ctx, try); err != nil {
		t.Fatalf("wait for %s: %v", what, err)
	}
}
