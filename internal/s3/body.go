package s3

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// withBody adds a part of content to a request. It reads the part to sign it.
func withBody(r request, content io.ReaderAt, from, size int64) (request, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(content, from, size)); err != nil {
		return r, fmt.Errorf("read the content for %s: %w", r.name, err)
	}
	r.body, r.size, r.sum = io.NewSectionReader(content, from, size), size, hex.EncodeToString(sum.Sum(nil))
	return r, nil
}

func readerAt(text []byte) io.ReaderAt { return bytes.NewReader(text) }
