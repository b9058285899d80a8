package spec

import (
	"compress/gzip"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// compression is how a file of inputs is compressed as a whole. "" is not at all.
type compression string

const (
	gzipped    compression = "gzip"
	zstandard  compression = "zstd"
	zstdMemory             = 128 << 20 // of one frame's window
)

// Limits of what a compressed file may expand to. Real inputs shrink far less.
const (
	maxExpansion   = 1_000
	freelyExpanded = 64 << 20
)

// extensionsOf returns the extension of a file that names its format, and its compression.
func extensionsOf(file string) (ext string, c compression) {
	lower := strings.ToLower(file)
	for suffix, c := range map[string]compression{".gz": gzipped, ".zst": zstandard} {
		if rest, ok := strings.CutSuffix(lower, suffix); ok {
			return filepath.Ext(rest), c
		}
	}
	return filepath.Ext(lower), ""
}

// expand returns the content of a compressed file of this size. It fails if the content is more than maxExpansion times as
// long, so that a small file cannot cost much time.
func (c compression) expand(r io.Reader, size int64) (io.ReadCloser, error) {
	limit := max(maxExpansion*size, freelyExpanded)
	switch c {
	case gzipped:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return expanded{io.MultiReader(io.LimitReader(z, limit), tooLong{z}), z.Close}, nil
	case zstandard:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdMemory))
		if err != nil {
			return nil, err
		}
		return expanded{io.MultiReader(io.LimitReader(z, limit), tooLong{z}), func() error { z.Close(); return nil }}, nil
	}
	return io.NopCloser(r), nil
}

type expanded struct {
	io.Reader
	closeAll func() error
}

// Close ends the decompression.
func (e expanded) Close() error { return e.closeAll() }

// tooLong is the rest of a file that has reached its limit. It must be empty.
type tooLong struct{ r io.Reader }

// Read implements io.Reader.
func (t tooLong) Read([]byte) (int, error) {
	var one [1]byte
	n, err := io.ReadFull(t.r, one[:])
	if n > 0 {
		return 0, fmt.Errorf("it expands to more than %d times its size; unpack it first", maxExpansion)
	}
	return 0, err
}
