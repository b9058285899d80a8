package collect

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestColumnsKeepWholeNumbers checks that a column of numbers of any kinds holds every whole number unchanged, whatever other
// numbers widen it later.
func TestColumnsKeepWholeNumbers(t *testing.T) {
	t.Parallel()
	numbers := []string{"0", "-1", "9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775807", "12345678901234567890", "0.5", "1e3", "2.5e-3"}
	rapid.Check(t, func(t *rapid.T) {
		column := rapid.SliceOfN(rapid.SampledFrom(numbers), 1, 6).Draw(t, "column")
		s := &shape{}
		for _, n := range column {
			s.take(json.Number(n))
		}
		for _, n := range column {
			want, whole := new(big.Int).SetString(n, 10)
			if !whole {
				continue
			}
			v, err := valueOf(s.kind, json.Number(n))
			require.NoError(t, err)
			got := new(big.Int)
			switch s.kind {
			case intKind, longKind:
				got.SetInt64(v.Int64())
			case floatKind:
				big.NewFloat(v.Double()).Int(got)
			default:
				_, ok := got.SetString(string(v.ByteArray()), 10)
				require.True(t, ok)
			}
			assert.Equal(t, want.String(), got.String(), "column %v is of kind %d", column, s.kind)
		}
	})
}
