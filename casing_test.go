package batchagent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
)

type verdict struct {
	Risk string `json:"risk"`
	Note *verdict
	List []verdict          `json:"list"`
	Map  map[string]verdict `json:"map"`
	embedded
	Raw json.RawMessage `json:"raw"`
}

type embedded struct {
	Deep string `json:"deep"`
}

// The schema is open: it checks "risk" and accepts any other key.
func TestDecodeOutputIsCaseSensitive(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		`{"risk":"high"}`:                           "",
		`{"risk":"high","RISK":"low"}`:              `the key "RISK" differs from "risk" in case alone`,
		`{"RISK":"low"}`:                            `the key "RISK" differs from "risk" in case alone`,
		`{"ri\u017fk":"low"}`:                       `differs from "risk" in case alone`, // the long s
		`{"note":{"risk":"low"}}`:                   "",
		`{"Note":{"risk":"low"},"note":{}}`:         `two keys for "Note"`,
		`{"NOTE":null,"note":{}}`:                   `two keys for "Note"`,
		`{"note":{"Risk":"low"}}`:                   `the key "Risk"`,
		`{"list":[{},{"risk":"a","rIsk":"b"}]}`:     `the key "rIsk"`,
		`{"map":{"RISK":{"risk":"a","RISK":"b"}}}`:  `the key "RISK"`,
		`{"map":{"RISK":{"risk":"a"}}}`:             "",
		`{"deep":"a","Deep":"b"}`:                   `the key "Deep"`,
		`{"raw":{"risk":"a","RISK":"b"},"other":1}`: "",
	} {
		_, err := decodeOutput[verdict](json.RawMessage(text))
		if says == "" {
			assert.NoError(t, err, text)
			continue
		}
		assert.ErrorContains(t, err, says, text)
	}
	out, err := decodeOutput[string](json.RawMessage(`{"text":"a"}`))
	assert.NoError(t, err)
	assert.Equal(t, "a", out)
}
