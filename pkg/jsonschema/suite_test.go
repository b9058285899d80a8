package jsonschema

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// suite is the official JSON-Schema-Test-Suite (MIT licence, which is in the archive).
const suite = "testdata/JSON-Schema-Test-Suite.zip"

var suiteDrafts = map[string]string{
	"draft4": "http://json-schema.org/draft-04/schema#", "draft6": "http://json-schema.org/draft-06/schema#", "draft7": "http://json-schema.org/draft-07/schema#",
	"draft2019-09": "https://json-schema.org/draft/2019-09/schema", "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}

// leftOut are the files of the suite about features that this package lacks, or handles differently on purpose.
var leftOut = map[string]string{
	"refRemote.json":                     "nothing is loaded",
	"vocabulary.json":                    "nothing is loaded",
	"optional/cross-draft.json":          "nothing is loaded",
	"optional/format-assertion.json":     "nothing is loaded",
	"optional/content.json":              "contentEncoding and contentMediaType are annotations",
	"optional/no-schema.json":            "is about validators without a default draft",
	"optional/format/idn-hostname.json":  "the rules for a character's neighbours are not checked",
	"optional/zeroTerminatedFloats.json": "1.0 is an integer in every draft",
}

func TestOfficialSuite(t *testing.T) {
	t.Parallel()
	archive, err := zip.OpenReader(suite)
	require.NoError(t, err)
	defer archive.Close()
	checked, elsewhere := 0, 0
	for _, f := range archive.File {
		name, found := strings.CutPrefix(f.Name, "tests/")
		if !found {
			continue
		}
		draft, file, _ := strings.Cut(name, "/")
		if _, skip := leftOut[file]; skip || file == "format.json" && draft >= "draft2019" && draft < "draft4" {
			continue // format.json requires formats to be annotations
		}
		r, err := f.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		c, e := runSuiteFile(t, draft, file, text)
		checked, elsewhere = checked+c, elsewhere+e
	}
	t.Logf("%d tests, %d more need other documents", checked, elsewhere)
	assert.Greater(t, checked, 6000)
}

func runSuiteFile(t *testing.T, draft, file string, text []byte) (checked, elsewhere int) {
	var groups []struct {
		Description string
		Schema      json.RawMessage
		Tests       []struct {
			Description string
			Data        json.RawMessage
			Valid       bool
		}
	}
	require.NoError(t, json.Unmarshal(text, &groups))
	for _, g := range groups {
		where := path.Join(draft, file) + ": " + g.Description
		s, err := Compile(inDraft(g.Schema, draft))
		if err != nil && (strings.Contains(err.Error(), "nothing is loaded") || strings.Contains(err.Error(), "is no known draft") || strings.Contains(err.Error(), "may lead to several subschemas")) {
			elsewhere += len(g.Tests)
			continue
		}
		if !assert.NoError(t, err, where) {
			continue
		}
		for _, test := range g.Tests {
			dec := json.NewDecoder(bytes.NewReader(test.Data))
			dec.UseNumber()
			var v any
			require.NoError(t, dec.Decode(&v))
			err := s.Validate(t.Context(), v)
			checked++
			assert.Equal(t, test.Valid, err == nil, "%s: %s: %v", where, test.Description, err)
		}
	}
	return checked, elsewhere
}

// inDraft adds the draft to a schema without one.
func inDraft(schema []byte, draft string) []byte {
	rest, found := bytes.CutPrefix(bytes.TrimSpace(schema), []byte("{"))
	if !found || bytes.Contains(schema, []byte(`"$schema"`)) {
		return schema
	}
	comma := ","
	if bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
		comma = ""
	}
	return fmt.Appendf(nil, `{"$schema": %q%s%s`, suiteDrafts[draft], comma, rest)
}
