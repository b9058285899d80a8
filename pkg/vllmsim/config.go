package vllmsim

import (
	"errors"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// Version is the vLLM version whose HTTP API is simulated.
const Version = "0.32.0"

// OwnedBy is the value of owned_by in /v1/models. It marks the answers as simulated.
const OwnedBy = "batchagent-vllmsim"

// blockSize is the number of tokens in one block of the KV cache.
const blockSize = 16

// Config describes a simulated server. The zero value is usable.
type Config struct {
	Model       string // Defaults to "sim".
	MaxModelLen int    // tokens of context. Defaults to 32768.
	APIKey      string // required under /v1 if it is set
	Seed        uint64 // of answers and faults

	ForwardMS float64 // milliseconds of one model call up to its first token. Defaults to 0.
	TokenMS   float64 // milliseconds of each further token. Defaults to 0: all tokens arrive with the first.

	// Profile names a machine and model of package batching, such as "a10g-7b". Its engine then decides the timing of tokens, and
	// ForwardMS and TokenMS must be 0. Defaults to none: fixed latencies.
	Profile      string
	TimeScale    float64 // seconds of the profile's time per second. Defaults to 1.
	BudgetTokens int     // of the profile: tokens computed in one step. Defaults to the profile's.
	ByPriority   bool    // of the profile: requests run by priority; lower runs sooner

	MaxRunning int // limit of running requests; more wait in order of arrival. Defaults to no limit, or to the profile's.
	MaxQueued  int // limit of running and waiting requests; more get a 503. Defaults to no limit.
	KVBlocks   int // blocks of 16 tokens in the KV cache. Defaults to 65536, or to the profile's.

	ToolTurns      int // turns with a tool call before the answer; a negative number answers immediately. Defaults to 1.
	StreamInterval int // tokens per event when several are ready at the same instant. Defaults to 16.

	AllowRemote bool // lets Start listen on an address that other machines can reach
	Faults      Faults
}

func (c Config) withDefaults() Config {
	if c.Model == "" {
		c.Model = "sim"
	}
	if c.KVBlocks == 0 {
		c.KVBlocks = 65_536
		if p, err := batching.LookupProfile(c.Profile); err == nil {
			c.KVBlocks = p.Blocks
		}
	}
	if c.MaxModelLen == 0 {
		c.MaxModelLen = 32_768
		if c.Profile != "" {
			c.MaxModelLen = min(c.MaxModelLen, c.KVBlocks*blockSize)
		}
	}
	if c.TimeScale == 0 {
		c.TimeScale = 1
	}
	if c.ToolTurns == 0 {
		c.ToolTurns = 1
	}
	if c.StreamInterval == 0 {
		c.StreamInterval = 16
	}
	return c
}

// validate returns all problems at once.
func (c Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.MaxModelLen >= 2, "max-model-len must be at least 2, not %d", c.MaxModelLen)
	if c.Profile != "" {
		_, err := batching.LookupProfile(c.Profile)
		errs = append(errs, err)
		check(c.ForwardMS == 0 && c.TokenMS == 0, "forward-ms and token-ms are fixed latencies; a profile has its own, so set either the profile or fixed latencies")
		check(c.MaxModelLen <= c.KVBlocks*blockSize, "max-model-len of %d tokens does not fit into the KV cache of %d", c.MaxModelLen, c.KVBlocks*blockSize)
	} else {
		check(c.TimeScale == 1 && c.BudgetTokens == 0 && !c.ByPriority, "time-scale, max-num-batched-tokens and the priority policy need a profile")
	}
	check(c.TimeScale > 0, "time-scale must be above 0, not %g", c.TimeScale)
	check(c.BudgetTokens >= 0, "max-num-batched-tokens must not be negative, got %d", c.BudgetTokens)
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
