package toolpool

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// key identifies one execution. Calls with equal keys may share it.
type key [sha256.Size]byte

// keyOf hashes the parts, each with its length, so that different lists of parts give different keys.
func keyOf(parts ...string) key {
	h := sha256.New()
	var size [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return key(h.Sum(nil))
}

// canonical writes a decoded JSON value without white space and with sorted keys. It keeps the spelling of numbers,
// so 1 and 1.0 differ: a second execution costs less than treating two numbers as one.
func canonical(doc any) (json.RawMessage, error) {
	text, err := plainjson.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode canonical JSON: %w", err)
	}
	return text, nil
}
