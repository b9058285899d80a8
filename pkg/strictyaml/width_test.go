package strictyaml

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTooManyKeysCountsOneMapping(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("- a: 1\n  b: 2\n", maxKeys)
	assert.Zero(t, tooManyKeys([]byte("inputs:\n"+many)))
	assert.Zero(t, tooManyKeys([]byte(`{"inputs":[`+strings.Repeat(`{"a":":::"},`, maxKeys)+`{}]}`)))
	assert.Zero(t, tooManyKeys([]byte(`{"a":"`+strings.Repeat(":", 3*maxKeys)+`"}`)))
}
