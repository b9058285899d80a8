package vllmsim

import (
	"slices"
	"unicode/utf8"
)

const (
	vocabulary = 49_152 // limit of token IDs of text
	maxWord    = 6      // bytes of one word token, without its leading space
	maxSpaces  = 16
	maxPunct   = 2
)

// Special tokens of the chat template.
const (
	tokenStart uint64 = 1 // before a message
	tokenEnd   uint64 = 2 // after a message; the model's own end of turn
)

// chain is a token sequence in the engine's terms: its length, and one hash per full block. Each hash covers everything up to the
// block's end, so equal hashes mean equal prefixes.
type chain struct {
	hash   uint64
	tokens int
	blocks []uint64

	record bool // keep ids and strs
	ids    []int
	strs   []string
}

// fork returns a copy. Tokens added to it do not change c.
func (c *chain) fork() chain {
	out := *c
	out.blocks = slices.Clip(c.blocks)
	return out
}

func (c *chain) special(id uint64, str string) { c.add(id, id, str) }

// text adds the tokens of s. No token spans two calls, so equal calls give equal tokens.
func (c *chain) text(s string) {
	for i := 0; i < len(s); {
		start, end := i, tokenEndAt(s, i)
		h := uint64(14695981039346656037)
		for ; i < end; i++ {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		// Two words may share an ID, because the vocabulary is small. The hashes of their prefixes must still differ.
		c.add(h, 3+h%(vocabulary-3), s[start:end])
	}
}

func (c *chain) add(hash, id uint64, str string) {
	c.tokens++
	c.hash = mix(c.hash ^ hash)
	if c.tokens%blockSize == 0 {
		c.blocks = append(c.blocks, c.hash)
	}
	if c.record {
		c.ids = append(c.ids, int(id))
		c.strs = append(c.strs, str)
	}
}

// countTokens returns the number of tokens that text would add.
func countTokens(s string) int {
	n := 0
	for i := 0; i < len(s); n++ {
		i = tokenEndAt(s, i)
	}
	return n
}

type class uint8

const (
	space class = iota
	word
	punct
)

func classOf(b byte) class {
	switch {
	case b == ' ' || b == '\n' || b == '\t' || b == '\r':
		return space
	case b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b >= utf8.RuneSelf:
		return word
	default:
		return punct
	}
}

func (c class) limit() int {
	switch c {
	case word:
		return maxWord
	case space:
		return maxSpaces
	default:
		return maxPunct
	}
}

// tokenEndAt returns the end of the token that starts at i. A token is a piece of a word with the space before it, a run of white
// space, or up to two punctuation marks: about 4 bytes of English on average. Characters are never split.
func tokenEndAt(s string, i int) int {
	if s[i] == ' ' && i+1 < len(s) && classOf(s[i+1]) == word {
		i++
	}
	kind := classOf(s[i])
	limit := kind.limit()
	j := i + 1
	for j < len(s) && j-i < limit && classOf(s[j]) == kind {
		j++
	}
	for j < len(s) && !utf8.RuneStart(s[j]) {
		j++
	}
	// The space before a word belongs to the word.
	if kind == space && j-i > 1 && j < len(s) && s[j-1] == ' ' && classOf(s[j]) == word {
		j--
	}
	return j
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
