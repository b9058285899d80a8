package collect

import (
	"encoding/json"
	"math/big"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestColumnsKeepNumbers checks that no number of a column changes when other numbers widen the column. The value of a float64 is the one of its
// shortest text.
func TestColumnsKeepNumbers(t *testing.T) {
	t.Parallel()
	numbers := []string{
		"0", "-1", "9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775807", "12345678901234567890", "100000000000000000000",
		"0.5", "1e3", "2.5e-3", "-1.50E+2", "0.1", "0.10", "0.0", "0e7", "9007199254740993.0", "-9007199254740993.00", "9007199254740991.5",
		"12345678901234567.89", "0.1234567890123456789", "90071992547409930e-1", "1e-400", "1e23", "5e-324",
	}
	value := func(t require.TestingT, text string) *big.Rat {
		r, ok := new(big.Rat).SetString(text)
		require.True(t, ok, text)
		return r
	}
	for _, start := range []shape{{}, {kind: intKind, typed: true}, {kind: floatKind, typed: true}} {
		rapid.Check(t, func(t *rapid.T) {
			column := rapid.SliceOfN(rapid.SampledFrom(numbers), 1, 6).Draw(t, "column")
			s := start
			for _, n := range column {
				s.take(json.Number(n))
			}
			for _, n := range column {
				v, err := valueOf(s.kind, json.Number(n))
				require.NoError(t, err)
				var got string
				switch s.kind {
				case intKind, longKind:
					got = strconv.FormatInt(v.Int64(), 10)
				case floatKind:
					got = strconv.FormatFloat(v.Double(), 'g', -1, 64)
				default:
					got = string(v.ByteArray())
				}
				assert.Zero(t, value(t, n).Cmp(value(t, got)), "%s became %s in the column %v of kind %d", n, got, column, s.kind)
			}
		})
	}
}
