package s3

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filesIn lists the files and folders in a folder.
func filesIn(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestMirrorOfAKilledCommand(t *testing.T) {
	s, c := open(t)
	root := t.TempDir()
	mirror := func() *Mirror {
		m, err := c.Mirror(t.Context(), root, name, ".jsonl")
		require.NoError(t, err)
		return m
	}
	m := mirror()
	require.NoError(t, os.WriteFile(m.Path(), []byte("one\n"), 0o600))
	_, err := c.Mirror(t.Context(), root, name, ".jsonl")
	require.ErrorContains(t, err, "another command on this machine writes to it")
	require.NoError(t, m.Upload(t.Context()))
	require.NoError(t, m.Close())
	assert.Equal(t, "one\n", s.objects["/bucket/a/r.jsonl"])
	assert.Empty(t, filesIn(t, root))

	// The command is killed before its upload.
	m = mirror()
	text, err := os.ReadFile(m.Path())
	require.NoError(t, err)
	assert.Equal(t, "one\n", string(text))
	require.NoError(t, os.WriteFile(m.Path(), []byte("one\ntwo\n"), 0o600))
	require.NoError(t, m.Close())
	// It is killed after its upload, before it recorded it.
	m = mirror()
	s.objects["/bucket/a/r.jsonl"] = "one\ntwo\n"
	require.NoError(t, m.Close())
	m = mirror()
	require.NoError(t, m.Upload(t.Context()))
	require.NoError(t, m.Close())

	// Another program changes the object, before and after the next command begins.
	m = mirror()
	require.NoError(t, os.WriteFile(m.Path(), []byte("mine\n"), 0o600))
	s.objects["/bucket/a/r.jsonl"] = "theirs\n"
	require.ErrorContains(t, m.Upload(t.Context()), "changed by another program")
	require.NoError(t, m.Close())
	_, err = c.Mirror(t.Context(), root, name, ".jsonl")
	require.ErrorContains(t, err, "move this folder away")
	assert.Equal(t, "theirs\n", s.objects["/bucket/a/r.jsonl"])
}

// A command removes the record of a compressed file once the file is complete. The object of the record must go, too: the next command would
// take it for newer results.
func TestMirrorRemovesObjects(t *testing.T) {
	s, c := open(t)
	s.objects["/bucket/a/r.jsonl"], s.objects["/bucket/a/r.jsonl.jsonl"] = "old\n", "old record\n"
	root := t.TempDir()
	mirror := func() *Mirror {
		m, err := c.Mirror(t.Context(), root, name, ".jsonl")
		require.NoError(t, err)
		return m
	}
	m := mirror()
	write(t, m.Path(), "new\n")
	require.NoError(t, os.Remove(m.Path()+".jsonl"))
	// The upload is killed before the record is removed.
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			assert.Equal(t, "new\n", s.objects["/bucket/a/r.jsonl"], "the file is uploaded before its record is removed")
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	require.ErrorContains(t, m.Upload(t.Context()), "denies access")
	require.NoError(t, m.Close())
	s.before = nil
	m = mirror()
	assert.NoFileExists(t, m.Path()+".jsonl")
	require.NoError(t, m.Upload(t.Context()))
	require.NoError(t, m.Close())
	assert.Equal(t, map[string]string{"/bucket/a/r.jsonl": "new\n"}, s.objects)
	assert.Empty(t, filesIn(t, root))
}

// A cleaner of caches removes copies of a killed command.
func TestMirrorWithoutItsCopies(t *testing.T) {
	s, c := open(t)
	s.objects["/bucket/a/r.jsonl"] = "one\n"
	root := t.TempDir()
	m, err := c.Mirror(t.Context(), root, name, ".jsonl")
	require.NoError(t, err)
	require.NoError(t, os.Remove(m.Path()))
	require.ErrorContains(t, m.Upload(t.Context()), "s3://bucket/a/r.jsonl is unchanged, because its copy")
	require.NoError(t, m.Close())
	assert.Equal(t, "one\n", s.objects["/bucket/a/r.jsonl"])

	m, err = c.Mirror(t.Context(), root, name, ".jsonl")
	require.NoError(t, err)
	text, err := os.ReadFile(m.Path())
	require.NoError(t, err)
	assert.Equal(t, "one\n", string(text), "the copy is made again")
	require.NoError(t, m.Close())
}

func TestLockHasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var held sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for done := 0; done < 50; {
				l, err := lockFile(path)
				if err != nil {
					assert.ErrorIs(t, err, errLocked)
					continue
				}
				assert.True(t, held.TryLock(), "two hold the lock")
				done++
				held.Unlock()
				assert.NoError(t, l.unlock())
			}
		})
	}
	all.Wait()
	assert.NoFileExists(t, path)
}
