package e2e

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/internal/s3"
	"github.com/batchagent/batchagent/pkg/batch"
)

const plantedKey, plantedSecret = "PLANTEDKEYID0001", "planted/secret+key/0123456789"

// objectStore starts a versitygw with one bucket, whose objects are files in a folder. It skips the test where the program is missing.
func objectStore(t *testing.T) (folder string) {
	t.Helper()
	program, err := exec.LookPath(cmp.Or(os.Getenv("VERSITYGW"), "versitygw"))
	if err != nil {
		t.Skip("needs versitygw: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	}
	// Extended attributes need a file system on disk.
	root, err := os.MkdirTemp(".", ".objects-*")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(root)) })
	root, err = filepath.Abs(root)
	require.NoError(t, err)
	addr := freeAddress(t)
	require.NoError(t, os.Mkdir(filepath.Join(root, "bucket"), 0o755))
	p, err := processkit.Start(program, nil, "--access", plantedKey, "--secret", plantedSecret, "--port", addr, "posix", root)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Log(p.Log())
		}
	})
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + addr)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	t.Setenv("AWS_ACCESS_KEY_ID", plantedKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", plantedSecret)
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://"+addr)
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return filepath.Join(root, "bucket")
}

func putObject(t *testing.T, key string, content []byte) {
	t.Helper()
	c, err := s3.FromEnv(os.Getenv)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Store(t.Context(), s3.Name{Bucket: "bucket", Key: key}, bytes.NewReader(content), int64(len(content)), s3.Condition{})
	require.NoError(t, err)
}

// objectSpec writes a spec over an object.
func objectSpec(t *testing.T, inputs string) string {
	t.Helper()
	spec := filepath.Join(t.TempDir(), "spec.yaml")
	require.NoError(t, os.WriteFile(spec, []byte("name: objects\ntask: \"Say {x}.\"\ncarry: [x]\ninputs: "+inputs+"\n"), 0o600))
	return spec
}

// copiesLeft lists the folders and locks of interrupted commands.
func copiesLeft(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "batchagent", "s3", "*"))
	require.NoError(t, err)
	return left
}

func TestObjects(t *testing.T) {
	bin := built(t)
	bucket := objectStore(t)
	backend := "vllm://" + bin.simulator(t)
	putObject(t, "in/rows with ü.csv", []byte("x\none\ntwo\nthree\n"))
	lines := []byte("{\"x\":\"one\"}\n{\"x\":\"two\"}\n{\"x\":\"three\"}\n")
	putObject(t, "in/rows.jsonl", lines)
	var zipped bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	_, err := gz.Write(lines)
	require.NoError(t, errors.Join(err, gz.Close()))
	putObject(t, "in/rows.jsonl.gz", zipped.Bytes())
	zst, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	putObject(t, "in/rows.jsonl.zst", zst.EncodeAll(lines, nil))
	require.NoError(t, zst.Close())
	run := func(spec, out string, more ...string) (string, int) {
		_, errs, code := bin.run(t, "coordinator", append([]string{"run", spec, "--backend", backend, "--out", out}, more...)...)
		assert.NotContains(t, errs, plantedSecret)
		return errs, code
	}
	first := objectSpec(t, `"s3://bucket/in/rows with ü.csv"`)
	for _, format := range []string{"jsonl", "csv", "parquet", "jsonl.gz", "jsonl.zst"} {
		errs, code := run(first, "s3://bucket/out/r."+format)
		require.Equal(t, 0, code, errs)
		assert.Contains(t, errs, "s3://bucket/out/r."+format, "messages have the name of the object, not of its copy")
		assert.Positive(t, size(filepath.Join(bucket, "out", "r."+format)))
		assert.Empty(t, copiesLeft(t))
		errs, code = run(first, "s3://bucket/out/r."+format)
		assert.Equal(t, 2, code)
		assert.Contains(t, errs, "s3://bucket/out/r."+format+" holds 3 results already", "")
		errs, code = run(first, "s3://bucket/out/r."+format, "--resume")
		require.Equal(t, 0, code, errs)
		assert.Contains(t, errs, "resuming: 3 kept (0 moved), 0 changed, 0 new")
	}
	// The table of results is an object of inputs, too.
	for _, input := range []string{"in/rows.jsonl", "in/rows.jsonl.gz", "in/rows.jsonl.zst", "out/r.csv", "out/r.parquet"} {
		out := filepath.Join(t.TempDir(), "r.jsonl")
		errs, code := run(objectSpec(t, "s3://bucket/"+input), out)
		require.Equal(t, 0, code, errs)
		var rows []string
		for _, r := range readResults(t, out) {
			rows = append(rows, string(r.Input))
		}
		assert.ElementsMatch(t, []string{`{"x":"one"}`, `{"x":"two"}`, `{"x":"three"}`}, rows, input)
	}
	assert.Positive(t, size(filepath.Join(bucket, "out", "r.csv.jsonl")), "a table has its record beside it")
	_, err = os.Stat(filepath.Join(bucket, "out", "r.jsonl.gz.jsonl"))
	assert.ErrorIs(t, err, os.ErrNotExist, "a compressed file needs none")
}

// TestLargeFilesOfPrograms checks that a file that is too large for a result is kept beside the results, here and in a store.
func TestLargeFilesOfPrograms(t *testing.T) {
	bin := built(t)
	bucket := objectStore(t)
	backend := "vllm://" + bin.simulator(t)
	dir := t.TempDir()
	spec := filepath.Join(dir, "spec.yaml")
	require.NoError(t, os.WriteFile(spec, []byte(`name: files
task: "Make {x}."
agent: {command: [sh, -c, "head -c 300000 /dev/zero | tr '\\0' x > large.txt; echo done"]}
workspace: {collect: ["*.txt"]}
inputs: [{x: one}, {x: two}]
`), 0o600))
	content := strings.Repeat("x", 300000)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	for out, folder := range map[string]string{filepath.Join(dir, "r.jsonl"): dir, "s3://bucket/out/r.jsonl": filepath.Join(bucket, "out")} {
		_, errs, code := bin.run(t, "coordinator", "run", spec, "--backend", backend, "--out", out)
		require.Equal(t, 0, code, errs)
		results := readResults(t, filepath.Join(folder, "r.jsonl"))
		require.Len(t, results, 2)
		for _, r := range results {
			f := r.Files["large.txt"]
			name := path.Join(string(r.Batch), sum[:32]+"-large.txt")
			assert.Equal(t, batch.File{Path: out + ".files/" + name, SHA256: sum, Size: 300000}, f)
			text, err := os.ReadFile(filepath.Join(folder, "r.jsonl.files", name))
			require.NoError(t, err)
			assert.Equal(t, content, string(text))
		}
	}
}

func TestObjectErrors(t *testing.T) {
	bin := built(t)
	objectStore(t)
	backend := "vllm://" + bin.simulator(t)
	spec := objectSpec(t, "[{x: 1}]")
	for name, c := range map[string]struct {
		variable, value string
		spec, out       string
		code            int
		says            string
	}{
		"no credentials":          {"AWS_ACCESS_KEY_ID", "", spec, "s3://bucket/r.jsonl", 2, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"},
		"an unknown key":          {"AWS_ACCESS_KEY_ID", "UNKNOWNKEYID", spec, "s3://bucket/r.jsonl", 2, "refuses the credentials (XAdminUserNotFound)"}, // AWS has another name for it
		"a wrong secret":          {"AWS_SECRET_ACCESS_KEY", "another-planted-secret", spec, "s3://bucket/r.jsonl", 2, "refuses the credentials (SignatureDoesNotMatch)"},
		"a missing bucket":        {"A", "", spec, "s3://missing-bucket/r.jsonl", 2, "the bucket missing-bucket does not exist"},
		"no key":                  {"A", "", spec, "s3://bucket", 2, "write s3://bucket/key"},
		"a missing input":         {"A", "", objectSpec(t, "s3://bucket/gone.jsonl"), "-", 2, "s3://bucket/gone.jsonl: no such object"},
		"no endpoint":             {"AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1", spec, "s3://bucket/r.jsonl", 3, "no answer from http://127.0.0.1:1"},
		"no endpoint for inputs":  {"AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1", objectSpec(t, "s3://bucket/in.jsonl"), "-", 3, "no answer from http://127.0.0.1:1"},
		"an endpoint with a user": {"AWS_ENDPOINT_URL_S3", "http://u:planted-password@127.0.0.1:1", spec, "s3://bucket/r.jsonl", 2, "it takes no user and password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(c.variable, c.value)
			out, errs, code := bin.run(t, "coordinator", "run", c.spec, "--backend", backend, "--out", c.out)
			assert.Equal(t, c.code, code, errs)
			assert.Contains(t, errs, c.says)
			assert.Empty(t, out)
			for _, secret := range []string{plantedSecret, "another-planted-secret", "planted-password"} {
				assert.NotContains(t, errs, secret)
			}
			assert.Empty(t, copiesLeft(t))
		})
	}
}

// A command that is killed while it uploads continues with its own results, and refuses an object that another program has changed.
func TestKilledUploadResumes(t *testing.T) {
	bin := built(t)
	bucket := objectStore(t)
	backend := "vllm://" + bin.simulator(t)
	target, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL_S3"))
	require.NoError(t, err)
	var puts atomic.Int32
	var hold atomic.Pointer[string] // the end of the key whose upload hangs
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ending := hold.Load(); r.Method == http.MethodPut && ending != nil && strings.HasSuffix(r.URL.Path, *ending) {
			puts.Add(1)
			_, _ = io.Copy(io.Discard, r.Body) // the end of the client shows only after the body
			<-r.Context().Done()
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(gate.Close)
	t.Setenv("AWS_ENDPOINT_URL_S3", gate.URL)
	var rows strings.Builder
	for i := range 200 {
		fmt.Fprintf(&rows, "{\"x\":\"row %d\"}\n", i)
	}
	putObject(t, "in.jsonl", []byte(rows.String()))
	spec := objectSpec(t, "s3://bucket/in.jsonl")
	args := []string{"run", spec, "--backend", backend, "--out", "s3://bucket/r.csv"}

	// The record is uploaded first, and the kill comes before the table.
	ending := "/r.csv"
	hold.Store(&ending)
	require.True(t, killOnce(t, bin, func() bool { return puts.Load() > 0 }, 0, args...))
	assert.NotEmpty(t, copiesLeft(t))
	assert.Positive(t, size(filepath.Join(bucket, "r.csv.jsonl")))
	hold.Store(nil)
	_, errs, code := bin.run(t, "coordinator", append(args, "--resume")...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "resuming: 200 kept")
	table, err := os.ReadFile(filepath.Join(bucket, "r.csv"))
	require.NoError(t, err)
	assert.Equal(t, 201, bytes.Count(table, []byte("\n")))
	assert.Empty(t, copiesLeft(t))

	// Another program replaces the object while the killed command's results wait here.
	args[len(args)-1] = "s3://bucket/other.jsonl"
	ending = "/other.jsonl"
	hold.Store(&ending)
	require.True(t, killOnce(t, bin, func() bool { return puts.Load() > 1 }, 0, args...))
	hold.Store(nil)
	putObject(t, "other.jsonl", []byte("{\"other\":true}\n"))
	_, errs, code = bin.run(t, "coordinator", append(args, "--resume")...)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "s3://bucket/other.jsonl was changed since a command here copied it")
	text, err := os.ReadFile(filepath.Join(bucket, "other.jsonl"))
	require.NoError(t, err)
	assert.Equal(t, "{\"other\":true}\n", string(text))
}

// A run that was killed continues with its local copy. An interrupted run uploads what it has, and resumes from the object.
func TestInterruptedRuns(t *testing.T) {
	bin := built(t)
	bucket := objectStore(t)
	backend := "vllm://" + bin.simulator(t, "--forward-ms", "10")
	const jobs = 1_500
	var rows strings.Builder
	for i := range jobs {
		fmt.Fprintf(&rows, "{\"x\":\"row %d\"}\n", i)
	}
	putObject(t, "in.jsonl", []byte(rows.String()))
	spec := objectSpec(t, "s3://bucket/in.jsonl")
	for _, format := range []string{"jsonl", "parquet"} {
		args := []string{"run", spec, "--backend", backend, "--out", "s3://bucket/r." + format, "--max-inflight", "64"}
		record := "r." + format
		if format != "jsonl" {
			record += ".jsonl"
		}
		written := func() int64 {
			found, _ := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "batchagent", "s3", "*", record))
			return size(strings.Join(found, ""))
		}
		require.True(t, killOnce(t, bin, func() bool { return written() > 10_000 }, 0, args...))
		before := written()
		assert.Zero(t, size(filepath.Join(bucket, record)), "nothing was uploaded")
		args = append(args, "--resume")

		cmd := exec.Command(filepath.Join(bin.dir, "coordinator"), args...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool { return written() > before+10_000 }, 30*time.Second, 5*time.Millisecond)
		require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
		_, refused, code := bin.run(t, "coordinator", args...)
		assert.Equal(t, 2, code)
		assert.Contains(t, refused, "s3://bucket/r."+format+": another command on this machine writes to it")
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		_ = cmd.Wait()
		require.Equal(t, 130, cmd.ProcessState.ExitCode(), errs.String())
		assert.Contains(t, errs.String(), "--out s3://bucket/r."+format, "the command that continues names the object")
		assert.NotContains(t, errs.String(), "resuming: 0 kept")
		assert.Greater(t, size(filepath.Join(bucket, record)), before)
		assert.Empty(t, copiesLeft(t))

		_, text, code := bin.run(t, "coordinator", args...)
		require.Equal(t, 0, code, text)
		indexes := map[int64]bool{}
		for _, r := range readResults(t, filepath.Join(bucket, record)) {
			indexes[r.Index] = true
		}
		assert.Len(t, indexes, jobs)
		assert.Positive(t, size(filepath.Join(bucket, "r."+format)))
		assert.Empty(t, copiesLeft(t))
	}
}

// A command on another machine writes the object while a run is under way.
func TestSecondWriterOfAnObject(t *testing.T) {
	bin := built(t)
	bucket := objectStore(t)
	backend := "vllm://" + bin.simulator(t, "--forward-ms", "20")
	var rows strings.Builder
	for i := range 500 {
		fmt.Fprintf(&rows, "{\"x\":\"row %d\"}\n", i)
	}
	putObject(t, "in.jsonl", []byte(rows.String()))
	putObject(t, "few.jsonl", []byte("{\"x\":\"row 0\"}\n"))
	args := func(inputs string) []string {
		return []string{"run", objectSpec(t, "s3://bucket/"+inputs), "--backend", backend, "--out", "s3://bucket/r.jsonl"}
	}
	first := exec.Command(filepath.Join(bin.dir, "coordinator"), args("in.jsonl")...)
	var errs bytes.Buffer
	first.Stderr = &errs
	require.NoError(t, first.Start())
	require.Eventually(t, func() bool {
		found, _ := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "batchagent", "s3", "*", "r.jsonl"))
		return len(found) == 1 && size(found[0]) > 0
	}, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, first.Process.Signal(syscall.SIGSTOP))
	mine := os.Getenv("XDG_CACHE_HOME")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	_, text, code := bin.run(t, "coordinator", args("few.jsonl")...)
	require.Equal(t, 0, code, text)
	require.NoError(t, first.Process.Signal(syscall.SIGCONT))
	_ = first.Wait()
	assert.Equal(t, 2, first.ProcessState.ExitCode(), errs.String())
	assert.Contains(t, errs.String(), "s3://bucket/r.jsonl was changed by another program meanwhile, and is not replaced; the results so far are in")
	assert.Len(t, readResults(t, filepath.Join(bucket, "r.jsonl")), 1)
	kept, err := filepath.Glob(filepath.Join(mine, "batchagent", "s3", "*", "r.jsonl"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	assert.Len(t, readResults(t, kept[0]), 500)
}
