// Package prose generates texts for benchmarks: words in an order that depends on a seed.
package prose

import (
	"crypto/sha256"
	"math/rand/v2"
	"strings"
)

var words = strings.Fields(`the river runs under an old stone bridge and people walk along its banks every evening when light falls soft over
	roofs of houses while birds return to trees children play near water boats carry wood grain salt toward towns beyond hills where
	markets open before dawn with bread fish apples cloth tools lamps books maps clocks`)

// Text returns n words, about 1.3 tokens each.
func Text(seed string, n int) string {
	r := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(seed))))
	out := make([]string, n)
	for i := range out {
		out[i] = words[r.IntN(len(words))]
	}
	return strings.Join(out, " ")
}
