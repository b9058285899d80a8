package backendtest

import (
	"embed"
	"io/fs"
	"path"
	"strings"
	"testing"
)

//go:embed testdata
var recordings embed.FS

// Recording returns a recorded HTTP response, byte for byte. Its name is a file under testdata without its extension:
// "vllm-0.32/chat-stream". The folder names the server; vllm-0.32-guarded had an API key, a queue limit and keep-alive comments.
func Recording(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := recordings.ReadFile("testdata/" + name + ".response")
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Recordings returns the names of all recordings that match a pattern of [path.Match].
func Recordings(tb testing.TB, pattern string) []string {
	tb.Helper()
	files, err := fs.Glob(recordings, path.Join("testdata", pattern+".response"))
	if err != nil {
		tb.Fatal(err)
	}
	if len(files) == 0 {
		tb.Fatalf("no recording matches %s", pattern)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(f, "testdata/"), ".response")
	}
	return files
}
