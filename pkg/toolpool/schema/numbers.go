package schema

import (
	"math/big"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

const (
	maxShownDigits = 60  // of a number in a message
	maxDecimals    = 400 // of an exact number; JSON numbers within the exponents of modeljson have no more, but for their digits
)

// numberWording words a violated limit of a number. It writes numbers exactly: a model that reads 1e+19 cannot correct
// 10000000000000000001.
func numberWording(k jsonschema.ErrorKind) (text string, ok bool) {
	word := func(keyword string, got, want *big.Rat) (string, bool) {
		return keyword + ": got " + exact(got) + ", want " + exact(want), true
	}
	switch k := k.(type) {
	case *kind.Minimum:
		return word("minimum", k.Got, k.Want)
	case *kind.Maximum:
		return word("maximum", k.Got, k.Want)
	case *kind.ExclusiveMinimum:
		return word("exclusiveMinimum", k.Got, k.Want)
	case *kind.ExclusiveMaximum:
		return word("exclusiveMaximum", k.Got, k.Want)
	case *kind.MultipleOf:
		return word("multipleOf", k.Got, k.Want)
	default:
		return "", false
	}
}

// exact writes a number without rounding. A long one is cut in the middle.
func exact(n *big.Rat) string {
	text := ""
	if decimals, whole := n.FloatPrec(); whole && decimals <= maxDecimals {
		text = n.FloatString(decimals)
	} else {
		text = n.RatString()
	}
	if len(text) <= maxShownDigits {
		return text
	}
	return strings.Join([]string{text[:maxShownDigits/2], text[len(text)-maxShownDigits/2:]}, "…")
}
