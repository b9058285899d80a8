package testredis

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerVariants(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]Arg{
		"plain":            nil,
		"unix socket":      {Unix()},
		"tls":              {TLS()},
		"default password": {Password("", "s3cret/#")},
		"user":             {Password("batch", "s3cret")},
		"directive":        {Config("maxmemory", "100mb")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Server(t, args...)
			require.NoError(t, p.Client().Set(t.Context(), "k", "v", 0).Err())

			o, err := redis.ParseURL(p.URL())
			require.NoError(t, err, "URL %s", p.URL())
			c := redis.NewClient(o)
			defer c.Close()
			got, err := c.Get(t.Context(), "k").Result()
			require.NoError(t, err)
			assert.Equal(t, "v", got)
		})
	}
}

func TestRestartKeepsTheAOF(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []Arg
		want error
	}{
		"with aof":    {[]Arg{AOF()}, nil},
		"without aof": {nil, redis.Nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Server(t, c.args...)
			require.NoError(t, p.Client().Set(t.Context(), "k", "v", 0).Err())
			before := p.PID()
			p.Restart()
			assert.NotEqual(t, before, p.PID())
			assert.ErrorIs(t, p.Client().Get(t.Context(), "k").Err(), c.want)
		})
	}
}

func TestStopFreezesAndContResumes(t *testing.T) {
	t.Parallel()
	p := Server(t)
	c := p.Client()
	require.NoError(t, c.Ping(t.Context()).Err())
	p.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, p.ping(ctx))
	p.Cont()
	require.NoError(t, p.Client().Ping(t.Context()).Err())
}

func TestProcessEndsWithItsTest(t *testing.T) {
	t.Parallel()
	var pid int
	t.Run("inner", func(t *testing.T) {
		p := Server(t)
		p.Stop() // even a frozen process must end
		pid = p.PID()
	})
	if pid == 0 {
		return // skipped without redis-server
	}
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

func TestClusterServesEverySlot(t *testing.T) {
	t.Parallel()
	nodes := Cluster(t)
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}})
	defer c.Close()
	for _, key := range strings.Split("abcdefghij", "") {
		require.NoError(t, c.Set(t.Context(), key, key, 0).Err())
	}
	require.NoError(t, c.ForEachMaster(t.Context(), func(ctx context.Context, m *redis.Client) error {
		n, err := m.DBSize(ctx).Result()
		if err == nil && n == 0 {
			err = errors.New("a master without any key")
		}
		return err
	}))
}

func TestSentinelNamesThePrimary(t *testing.T) {
	t.Parallel()
	w := Sentinel(t, 1)
	assert.Contains(t, w.URL(), w.Sentinels[0].Addr())
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: []string{w.Sentinels[0].Addr()}})
	defer c.Close()
	require.NoError(t, c.Set(t.Context(), "k", "v", 0).Err())
	assert.Equal(t, "v", w.Primary.Client().Get(t.Context(), "k").Val())
}

func TestLineLosesOneReply(t *testing.T) {
	t.Parallel()
	dial, _ := Pipe(t)
	line := NewLine(dial)
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", Dialer: line.Dial, MaxRetries: -1, DisableIdentity: true})
	defer c.Close()

	line.LoseReply("INCR")
	require.NoError(t, c.Ping(t.Context()).Err(), "other commands pass")
	assert.ErrorIs(t, c.Incr(t.Context(), "n").Err(), io.EOF)
	assert.Equal(t, 1, line.Lost())
	assert.Equal(t, "1", c.Get(t.Context(), "n").Val(), "the server executed the command")

	n, err := c.Incr(t.Context(), "n").Result()
	require.NoError(t, err, "the line loses one reply only")
	assert.EqualValues(t, 2, n)
}

func TestLineLetsErrorsPass(t *testing.T) {
	t.Parallel()
	dial, _ := Pipe(t)
	line := NewLine(dial)
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", Dialer: line.Dial, MaxRetries: -1, DisableIdentity: true})
	defer c.Close()
	script := redis.NewScript(`return redis.call('INCR', KEYS[1])`)

	line.LoseReply("eval")
	assert.ErrorIs(t, script.Run(t.Context(), c, []string{"n"}).Err(), io.EOF, "NOSCRIPT passed, the script ran, its reply was lost")
	assert.Equal(t, "1", c.Get(t.Context(), "n").Val())
}

func TestMiniHasAPort(t *testing.T) {
	t.Parallel()
	url, m := Mini(t)
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	c := redis.NewClient(o)
	defer c.Close()
	require.NoError(t, c.Set(t.Context(), "k", "v", 0).Err())
	assert.Equal(t, []string{"k"}, m.Keys())
}
