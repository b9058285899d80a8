package batching

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Profile is a machine with a model.
type Profile struct {
	Name string
	Cost Cost

	// Overhead is the time between a request's arrival and its place in the queue: HTTP, chat template, tokenizer.
	Overhead time.Duration

	BlockSize    int // tokens of one KV block
	Blocks       int // KV blocks
	BudgetTokens int // limit of tokens per step (max_num_batched_tokens)
	MaxSequences int // limit of running sequences (max_num_seqs)

	// HostBlocks is the size of a second tier in the host's memory. It gets the content of blocks that are taken for other
	// tokens. A request that needs the content loads it into fresh blocks. 0 is no such tier.
	HostBlocks int

	NoPrefixCache bool // blocks are never reused
	// LateReuse makes blocks of a prompt reusable only after its first token, as in paid services. Without it they are reusable
	// once their computation is scheduled, as in vLLM.
	LateReuse bool
}

// Cost gives the time of one step: Step + Prefill·p + Attention·Σ n·(c+n/2) + Decode·d + Context·Σ c + Load·h. p is the number of
// computed prompt tokens, and h the number of loaded ones. n is a chunk's length and c the number of tokens before it. d is the number of decoding sequences; the last sum
// runs over their context tokens.
type Cost struct {
	Step      time.Duration // reading the weights, launching kernels
	Prefill   time.Duration // per prompt token
	Attention time.Duration // per prompt token and 1,000 tokens before it
	Decode    time.Duration // per decoding sequence
	Context   time.Duration // per 1,000 tokens of context in decoding sequences
	Load      time.Duration // per token loaded from the host's memory
}

// profiles are calibrated against published measurements; calibration_test.go prints both.
var profiles = map[string]Profile{
	// Qwen2.5-7B in 16 bit on an A10G (24 GB, 600 GB/s): 15 GB of weights leave about 80,000 tokens of KV.
	"a10g-7b": {
		Cost: Cost{
			Step: 22 * time.Millisecond, Prefill: 150 * time.Microsecond, Attention: 3 * time.Microsecond,
			Decode: 40 * time.Microsecond, Context: 45 * time.Microsecond,
		},
		Overhead:  115 * time.Millisecond,
		BlockSize: 16, Blocks: 5_000, BudgetTokens: 2_048, MaxSequences: 256,
	},
	// Qwen2.5-32B in 16 bit on an H100 (80 GB, 3.35 TB/s): 65 GB of weights leave about 27,000 tokens of KV.
	"h100-32b": {
		Cost: Cost{
			Step: 19 * time.Millisecond, Prefill: 110 * time.Microsecond, Attention: 2 * time.Microsecond,
			Decode: 30 * time.Microsecond, Context: 80 * time.Microsecond,
		},
		Overhead:  70 * time.Millisecond,
		BlockSize: 16, Blocks: 1_700, BudgetTokens: 8_192, MaxSequences: 256,
	},
}

// LookupProfile returns the profile with the given name.
func LookupProfile(name string) (Profile, error) {
	p, ok := profiles[name]
	if !ok {
		return Profile{}, fmt.Errorf("unknown profile %q; known are %s", name, strings.Join(Profiles(), ", "))
	}
	p.Name = name
	return p, nil
}

// Profiles lists the names of all profiles.
func Profiles() []string { return slices.Sorted(maps.Keys(profiles)) }

// Capacity returns the KV cache's size in tokens.
func (p Profile) Capacity() int { return p.Blocks * p.BlockSize }
