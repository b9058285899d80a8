package statestore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// rights returns the words of a user in deploy/redis/users.acl that follow its password.
func rights(t *testing.T, user string) []any {
	t.Helper()
	text, err := os.ReadFile("../../deploy/redis/users.acl")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\nuser "+user+" on PASSWORD ")
	require.True(t, found, user)
	rest, _, _ = strings.Cut(rest, "\n\n")
	var words []any
	for word := range strings.FieldsSeq(rest) {
		words = append(words, word)
	}
	return words
}

// asUser is a world whose store connects as a user; the test looks behind its back as administrator.
func asUser(t *testing.T, server *testredis.Process, url string) *world {
	t.Helper()
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	admin, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	admin.DB = o.DB
	raw := redis.NewClient(admin)
	t.Cleanup(func() {
		require.NoError(t, store.Close())
		require.NoError(t, raw.Close())
	})
	return &world{T: t, store: store, raw: raw, lease: 300 * time.Millisecond}
}

// TestConformanceUnderUsersACL runs the suite with the rights of a worker and a coordinator together, which is what the suite's one store
// does the work of. Redis notes in ACL LOG whatever it refuses.
func TestConformanceUnderUsersACL(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.Config("databases", "256"), testredis.Users())
	admin := server.Client()
	words := append([]any{"ACL", "SETUSER", "both", "on", ">both"}, rights(t, "worker")...)
	for _, word := range rights(t, "coordinator") {
		switch word {
		case "resetkeys", "resetchannels", "-@all":
			continue // would take the worker's rights away
		case "+waitaof":
			if admin.Do(t.Context(), "COMMAND", "INFO", "waitaof").Val().([]any)[0] == nil {
				continue
			}
		}
		words = append(words, word)
	}
	require.NoError(t, admin.Do(t.Context(), words...).Err())
	url := strings.Replace(server.URL(), "administrator:administrator-of-tests", "both:both", 1)
	t.Cleanup(func() {
		for _, r := range admin.ACLLog(t.Context(), 100).Val() {
			assert.Fail(t, "Redis refused", "%s %s: %s", r.Reason, r.Object, r.ClientInfo)
		}
	})
	t.Run("scenarios", func(t *testing.T) {
		for i, s := range scenarios() {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(asUser(t, server, fmt.Sprintf("%s/%d", url, i+1)))
			})
		}
	})
}

// scriptsOf lists the scripts that each program runs.
var scriptsOf = map[string][]string{
	"worker": {"lua/claim", "lua/held", "lua/renew", "lua/checkpoint", "lua/release", "lua/finish", "lua/bind", "lua/intend", "lua/note", "lua/spend",
		"lua/volunteer", "lua/create", "lua/feed", "lua/seal", "lua/cancel", "lua/at", "lua/part/*", "../toolpool/shared/lua/*"},
	"coordinator": {"lua/claim", "lua/held", "lua/finish", "lua/book", "lua/announced", "lua/create", "lua/feed", "lua/seal", "lua/budget", "lua/cancel", "lua/retry", "lua/remove",
		"lua/resolve", "lua/touch", "lua/at", "lua/part/*"},
}

// TestUsersMayRunTheirScripts finds the commands of branches that no suite reaches.
func TestUsersMayRunTheirScripts(t *testing.T) {
	t.Parallel()
	call := regexp.MustCompile(`redis\.p?call\('([A-Za-z]+)'(?:, ?'(CREATE)')?`)
	for user, scripts := range scriptsOf {
		words := rights(t, user)
		for _, name := range scripts {
			files, err := filepath.Glob(name + ".lua")
			require.NoError(t, err)
			require.NotEmpty(t, files, name)
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				for _, m := range call.FindAllStringSubmatch(string(text), -1) {
					command := strings.ToLower(m[1])
					if m[2] != "" {
						command += "|" + strings.ToLower(m[2])
					}
					assert.Contains(t, words, "+"+command, "%s runs %s", user, file)
				}
			}
		}
	}
}

// TestUsersHaveNoMoreThanTheyNeed tries what each user must not do.
func TestUsersHaveNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.Users(), testredis.AOF())
	admin := server.Client()
	w := asUser(t, server, server.As("coordinator"))
	id := w.sealed(1)
	for _, user := range []string{"worker", "coordinator", "viewer", "monitor"} {
		o, err := redis.ParseURL(server.As(user))
		require.NoError(t, err)
		o.DisableIdentity = true
		c := redis.NewClient(o)
		t.Cleanup(func() { _ = c.Close() })
		refused := func(args ...any) {
			t.Helper()
			assert.ErrorContains(t, c.Do(t.Context(), args...).Err(), "NOPERM", "%s: %v", user, args)
		}
		require.NoError(t, c.Ping(t.Context()).Err())
		for _, line := range []string{
			"CONFIG GET *", "CONFIG GET requirepass", "CONFIG SET dir /tmp", "CONFIG REWRITE", "ACL LIST", "ACL GETUSER worker", "ACL SETUSER x on nopass",
			"FLUSHALL", "FLUSHDB", "KEYS *", "SAVE", "BGSAVE", "SHUTDOWN", "MONITOR", "CLIENT LIST", "CLIENT KILL TYPE normal",
			"REPLICAOF 10.0.0.1 6379", "MODULE LIST", "SCRIPT FLUSH", "FUNCTION LIST", "SWAPDB 0 1", "SUBSCRIBE x", "PUBLISH x y", "SLOWLOG GET",
			"SORT ba:active GET x", "GET other", "SET other 1", "MIGRATE 10.0.0.1 6379 ba:active 0 100",
		} {
			refused(toAny(strings.Fields(line))...)
		}
		if user == "viewer" || user == "monitor" {
			for _, line := range []string{
				"SET ba:batches 1", "DEL ba:batches", "SADD ba:active x", "ZREM ba:workers x", "XADD ba:events * a b", "EXPIRE ba:active 1",
				"HSET ba:{" + string(id) + "}:meta phase DONE", "EVAL return 0", "EVALSHA abc 0", "XTRIM ba:{" + string(id) + "}:results MAXLEN 0",
			} {
				refused(toAny(strings.Fields(line))...)
			}
		}
		if user == "monitor" {
			refused("GET", "ba:{"+string(id)+"}:plan")
			refused("HGETALL", "ba:{"+string(id)+"}:meta")
			refused("XRANGE", "ba:{"+string(id)+"}:jobs", "-", "+")
			require.NoError(t, c.XInfoGroups(t.Context(), "ba:{"+string(id)+"}:jobs").Err())
		}
		if user == "worker" {
			refused("SET", "ba:submit:x", "1")
		}
		if user == "coordinator" {
			refused("SET", "ba:worker:x", "1")
			refused("GET", "ba:tool:{x}:blob:y")
			refused("ZREMRANGEBYSCORE", "ba:workers", "0", "1")
		}
	}
	anonymous := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	t.Cleanup(func() { _ = anonymous.Close() })
	assert.ErrorContains(t, anonymous.Ping(t.Context()).Err(), "NOAUTH")
	require.NoError(t, admin.Ping(t.Context()).Err())
}

func toAny(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

// TestUsersOutliveARestart reads the append-only file under users.acl. Redis 7.0 checks the rights of the user default when it reads a
// transaction there.
func TestUsersOutliveARestart(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.Users(), testredis.AOF())
	open := func(user string) *statestore.Store {
		s, err := statestore.Open(t.Context(), server.As(user), statestore.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	id := statestore.NewID(time.UnixMilli(1_700_000_000_000))
	coordinator, worker := open("coordinator"), open("worker")
	require.NoError(t, coordinator.Create(t.Context(), batch.Header{ID: id, Name: "n", MaxAttempts: 3, TTL: time.Hour}, []byte("plan")))
	_, err := coordinator.Feed(t.Context(), id, 0, payloads(0, 3))
	require.NoError(t, err)
	_, err = coordinator.Seal(t.Context(), id, 3)
	require.NoError(t, err)
	_, jobs, err := worker.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "a", Count: 2, Lease: time.Minute})
	require.NoError(t, err)
	_, _, err = worker.Finish(t.Context(), id, []statestore.Completion{succeeded(jobs[0].Lease)})
	require.NoError(t, err)
	before, err := coordinator.Info(t.Context(), id)
	require.NoError(t, err)
	server.Restart()
	viewer := open("viewer")
	after, err := viewer.Info(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, before.Counts, after.Counts)
	_, _, err = open("worker").Finish(t.Context(), id, []statestore.Completion{succeeded(jobs[1].Lease)})
	require.NoError(t, err)
	after, err = viewer.Info(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 2, after.Counts.OK)
}

// TestViewerReadsAll reads everything that commands show as the user that may not write, and is refused each change.
func TestViewerReadsAll(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.Users())
	w := over(t, server.URL())
	id := w.sealed(3)
	w.finishAll(id, w.claim(id, "a", 2))
	require.NoError(t, w.raw.ZAdd(t.Context(), "ba:workers", redis.Z{Score: 1, Member: "gone"}).Err())
	viewer, err := statestore.Open(t.Context(), server.As("viewer"), statestore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, viewer.Close()) })
	info, err := viewer.Info(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 2, info.Counts.OK)
	entries, err := viewer.Results(t.Context(), id, 0, 10)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	again, err := viewer.ResultsAt(t.Context(), id, []int64{entries[1].Cursor, 99, entries[0].Cursor})
	require.NoError(t, err)
	assert.Equal(t, []*statestore.Entry{&entries[1], nil, &entries[0]}, again)
	_, err = viewer.Workers(t.Context())
	require.NoError(t, err, "a stale record that only a writer can remove")
	_, err = viewer.Inspect(t.Context(), batch.Job{Batch: id, Index: 0}, 5)
	require.NoError(t, err)
	assert.Len(t, viewer.Warnings(t.Context()), 1)
	_, err = viewer.Cancel(t.Context(), id)
	require.ErrorContains(t, err, "NOPERM")
	_, err = viewer.Seal(t.Context(), id, 3)
	require.ErrorContains(t, err, "NOPERM")
}
