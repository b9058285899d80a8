package strictyaml

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnquotedValuesFollowTheYAMLCoreSchema(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"0": "0", "-0": "-0", "7": "7", "-7": "-7", "1.10": "1.10", "1e3": "1e3", "1E+3": "1E+3", "0.1e-5": "0.1e-5", "1e400": "1e400",
		"12345678901234567890123": "12345678901234567890123", "0.1": "0.1", "1e21": "1e21",
		"0o17": "15", "0x1F": "31", "0xffffffffffffffffff": "4722366482869645213695", ".5": "0.5", "-.5e1": "-0.5e1", "5.": "5.0",

		// These values stay text.
		"02142": `"02142"`, "09999": `"09999"`, "007": `"007"`, "-02": `"-02"`, "00": `"00"`, "00.5": `"00.5"`,
		"+1": `"+1"`, "+4915112345678": `"+4915112345678"`, "+.5": `"+.5"`, "1_000": `"1_000"`, "1__0": `"1__0"`, "1_0.5": `"1_0.5"`,
		"0b11": `"0b11"`, "0x1_F": `"0x1_F"`, "-0x1F": `"-0x1F"`, "+0o17": `"+0o17"`, "0o8": `"0o8"`, "12:30:45": `"12:30:45"`,
		"1.2.3": `"1.2.3"`, "2024-01-01": `"2024-01-01"`, "yes": `"yes"`, "no": `"no"`, "on": `"on"`, "off": `"off"`, "y": `"y"`, "NO": `"NO"`,
		"1.5e": `"1.5e"`, ".": `"."`, "e3": `"e3"`, `"02"`: `"02"`, "'1'": `"1"`, `"1e3"`: `"1e3"`, "tRUE": `"tRUE"`,

		"true": "true", "True": "true", "FALSE": "false", "~": "null", "Null": "null", "": "null",
	} {
		d, top := Parse("f", []byte("a: "+written+"\n"), nil)
		require.NotNil(t, top, written)
		got, ok := d.JSON("", top)
		require.True(t, ok, written)
		assert.Equal(t, `{"a":`+want+`}`, string(got), written)
	}
}
