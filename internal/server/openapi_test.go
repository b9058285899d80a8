package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// description holds the parts of the document that the tests read.
type description struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Security    *[]any
		Parameters  []struct{ Name, In string }
		Responses   map[string]struct {
			Content map[string]struct{ Schema json.RawMessage }
		}
	}
	Components struct{ Schemas map[string]json.RawMessage }
}

func described(t *testing.T, w *world) (description, []byte) {
	t.Helper()
	a := w.ask("GET", "/openapi.json", "")
	require.Equal(t, http.StatusOK, a.status)
	var d description
	a.json(t, &d)
	return d, []byte(a.body)
}

// Every route is documented or a page, and every documented operation has a route.
func TestEveryRouteIsDocumented(t *testing.T) {
	w := serve(t, nil)
	d, text := described(t, w)
	assert.Equal(t, "3.1.0", d.OpenAPI)
	ids := map[string]bool{}
	described := 0
	for _, r := range w.srv.routes() {
		method, path := r.split()
		op, ok := d.Paths[path][strings.ToLower(method)]
		api := strings.HasPrefix(path, "/api/") || path == "/healthz" || path == "/readyz" || path == "/openapi.json"
		require.Equal(t, api, ok, r.pattern)
		if !ok {
			continue
		}
		described++
		assert.False(t, ids[op.OperationID], "two operations are %s", op.OperationID)
		ids[op.OperationID] = true
		assert.Equal(t, openPath(path), op.Security != nil && len(*op.Security) == 0, "%s: open paths have no security requirement", path)
		for _, m := range inPath.FindAllStringSubmatch(path, -1) {
			assert.Contains(t, op.Parameters, struct{ Name, In string }{m[1], "path"})
		}
	}
	total := 0
	for _, item := range d.Paths {
		total += len(item)
	}
	assert.Equal(t, total, described)
	for _, m := range regexp.MustCompile(`"#/components/schemas/(\w+)"`).FindAllSubmatch(text, -1) {
		assert.Contains(t, d.Components.Schemas, string(m[1]))
	}
}

// The answers match their schemas in the document.
func TestAnswersMatchOpenAPI(t *testing.T) {
	w := serve(t, nil)
	running, done := w.scene()
	d, text := described(t, w)
	c := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, c.AddResource("file:///openapi.json", doc))
	answered := map[string]bool{}
	check := func(method, pattern, path, body string, headers ...string) {
		t.Helper()
		a := w.ask(method, path, body, headers...)
		op := d.Paths[pattern][strings.ToLower(method)]
		r, ok := op.Responses[itoa(a.status)]
		if !ok {
			r = op.Responses["default"]
		}
		media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
		require.Contains(t, r.Content, media, "%s %s answers %d: %s", method, path, a.status, a.body)
		answered[op.OperationID] = true
		var ref struct {
			Ref string `json:"$ref"`
		}
		require.NoError(t, json.Unmarshal(r.Content[media].Schema, &ref))
		if ref.Ref == "" {
			return
		}
		schema, err := c.Compile("file:///openapi.json" + ref.Ref)
		require.NoError(t, err)
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(a.body))
		require.NoError(t, err)
		assert.NoError(t, schema.Validate(v), "%s %s: %s", method, path, a.body)
	}
	const base = "/api/v1/batches"
	r, f := base+"/"+string(running), base+"/"+string(done)
	for _, p := range []string{"/healthz", "/readyz", "/openapi.json", "/api/v1/workers", "/api/v1/tools", "/api/v1/backends", base} {
		check("GET", p, p, "")
	}
	check("POST", base, base, lines, "Content-Type", ndjson, "Idempotency-Key", "k")
	check("POST", base, base, lines, "Content-Type", ndjson, "Idempotency-Key", "k")
	check("POST", base, base, "nonsense", "Content-Type", ndjson)
	check("GET", base+"/{batch}", r, "")
	check("GET", base+"/{batch}", f, "")
	check("GET", base+"/{batch}", base+"/nonsense", "")
	check("GET", base+"/{batch}/results", f+"/results", "")
	check("GET", base+"/{batch}/events", f+"/events", "")
	check("GET", base+"/{batch}/jobs/{index}", r+"/jobs/210", "")
	check("GET", base+"/{batch}/jobs/{index}", f+"/jobs/10", "")
	check("GET", base+"/{batch}/jobs/{index}", f+"/jobs/3?cursor=4", "")
	check("GET", base+"/{batch}/explanation", f+"/explanation", "")
	check("PUT", base+"/{batch}/budget", r+"/budget", `{"tokens":100000000}`)
	check("PUT", base+"/{batch}/budget", r+"/budget", `{"tokens":-1}`)
	check("POST", base+"/{batch}/jobs/{index}/resolve", f+"/jobs/10/resolve", `{"outcome":"done"}`)
	check("POST", base+"/{batch}/retry", f+"/retry", "")
	check("POST", base+"/{batch}/cancel", f+"/cancel", "")
	check("DELETE", base+"/{batch}", f, "")
	for _, item := range d.Paths {
		for _, op := range item {
			assert.True(t, answered[op.OperationID], "%s was not requested", op.OperationID)
		}
	}
}
