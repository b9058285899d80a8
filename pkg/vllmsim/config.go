package vllmsim

import (
	"errors"
	"fmt"
	"time"
)

// Version is the vLLM version whose HTTP face is simulated.
const Version = "0.32.0"

// OwnedBy is what /v1/models says in owned_by. It tells a client that answers are simulated.
const OwnedBy = "batchagent-vllmsim"

// blockSize is the number of tokens in one block of the KV cache.
const blockSize = 16

// Config describes a simulated server. The zero value is usable.
type Config struct {
	Model       string // Defaults to "sim".
	MaxModelLen int    // tokens of context. Defaults to 32768.
	APIKey      string // asked for under /v1 if it is set
	Seed        uint64 // of answers and faults

	ForwardMS float64 // milliseconds of one model call up to its first token. Defaults to 0.
	TokenMS   float64 // milliseconds of each further token. Defaults to 0: all tokens come with the first.

	MaxRunning int // requests running at once; more wait in order of arrival. Defaults to no limit.
	MaxQueued  int // requests running and waiting; more get a 503. Defaults to no limit.
	KVBlocks   int // blocks of 16 tokens in the KV cache. Defaults to 8192.

	ToolTurns      int // turns with a tool call before the answer; negative answers at once. Defaults to 1.
	StreamInterval int // tokens per event when several are due at the same instant. Defaults to 16.

	AllowRemote bool // let Start listen on an address that other machines reach
	Faults      Faults
}

func (c Config) withDefaults() Config {
	if c.Model == "" {
		c.Model = "sim"
	}
	if c.MaxModelLen == 0 {
		c.MaxModelLen = 32_768
	}
	if c.KVBlocks == 0 {
		c.KVBlocks = 8_192
	}
	if c.ToolTurns == 0 {
		c.ToolTurns = 1
	}
	if c.StreamInterval == 0 {
		c.StreamInterval = 16
	}
	return c
}

// validate reports every problem at once.
func (c Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.MaxModelLen >= 2, "max-model-len must be at least 2, not %d", c.MaxModelLen)
	check(c.ForwardMS >= 0, "forward-ms must not be negative, got %g", c.ForwardMS)
	check(c.TokenMS >= 0, "token-ms must not be negative, got %g", c.TokenMS)
	check(c.MaxRunning >= 0, "max-num-seqs must not be negative, got %d", c.MaxRunning)
	check(c.MaxQueued >= 0, "max-num-queued-reqs must not be negative, got %d", c.MaxQueued)
	check(c.KVBlocks >= 1, "kv-blocks must be at least 1, not %d", c.KVBlocks)
	check(c.StreamInterval >= 1, "stream-interval must be at least 1, not %d", c.StreamInterval)
	errs = append(errs, c.Faults.validate())
	return errors.Join(errs...)
}

func milliseconds(ms float64) time.Duration {
	return time.Duration(ms * float64(time.Millisecond))
}
