package vllmsim

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTokensJoinToTheText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`([a-zA-Z]{1,12}[ ,.\n"{}:]{0,3}){0,20}`)).Draw(t, "text")
		c := chain{record: true}
		c.text(text)
		assert.Equal(t, text, strings.Join(c.strs, ""))
		assert.Equal(t, c.tokens, countTokens(text))
		assert.Len(t, c.blocks, c.tokens/blockSize)
		for _, piece := range c.strs {
			assert.True(t, utf8.ValidString(piece), "%q", piece)
			assert.NotEmpty(t, piece)
		}
	})
}

func TestTokensPerByteMatchARealTokeniser(t *testing.T) {
	t.Parallel()
	english := strings.Repeat("The coordinator is never on the data path: a batch finishes with the coordinator dead. ", 20)
	assert.InDelta(t, 4.2, float64(len(english))/float64(countTokens(english)), 0.7)
}

func TestLongerConversationSharesItsTokens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		roles := rapid.SampledFrom([]string{"system", "user", "assistant", "tool"})
		var messages []message
		for range rapid.IntRange(1, 8).Draw(t, "messages") {
			messages = append(messages, message{Role: roles.Draw(t, "role"), Content: content(rapid.StringN(0, 200, -1).Draw(t, "content"))})
		}
		tools := []byte(rapid.SampledFrom([]string{"", `[{"type":"function"}]`}).Draw(t, "tools"))
		cut := rapid.IntRange(1, len(messages)).Draw(t, "cut")
		short, long := chain{record: true}, chain{record: true}
		render(&short, messages[:cut], tools, false)
		render(&long, messages, tools, true)
		require.LessOrEqual(t, short.tokens, long.tokens)
		assert.Equal(t, short.ids, long.ids[:short.tokens])
		assert.ElementsMatch(t, short.blocks, long.blocks[:len(short.blocks)])
	})
}

func TestPrefixCacheEvictsTheEndOfOldPrefixesFirst(t *testing.T) {
	t.Parallel()
	cache, err := newPrefixCache(4)
	require.NoError(t, err)
	cache.insert([]uint64{1, 2, 3})
	cache.insert([]uint64{10, 11})
	assert.Equal(t, 2, cache.lookup([]uint64{1, 2, 3}))
	assert.Equal(t, 2, cache.lookup([]uint64{10, 11, 12}))
	cache.insert([]uint64{20, 21, 22, 23, 24, 25})
	assert.Zero(t, cache.lookup([]uint64{1}))
	assert.Equal(t, 4, cache.lookup([]uint64{20, 21, 22, 23, 24, 25}))
}

func TestLastPromptTokenIsNeverCached(t *testing.T) {
	t.Parallel()
	e, err := newFixedEngine(Config{}.withDefaults())
	require.NoError(t, err)
	for _, want := range []int{0, blockSize} {
		seq, err := e.admit(pass{promptTokens: 2 * blockSize, prompt: []uint64{1, 2}, outputTokens: 1})
		require.NoError(t, err)
		require.NoError(t, seq.generate(t.Context(), func(s step) error {
			assert.Equal(t, step{tokens: 1, cached: want, created: 2*blockSize - want}, s)
			return nil
		}))
	}
}
