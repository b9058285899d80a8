package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	defaultHits = 5
	maxHits     = 20
	maxAnswer   = 4 << 20 // bytes of a provider's answer
	maxSnippet  = 500
)

const webSearchParameters = `{
	"type": "object",
	"properties": {
		"query": {"type": "string", "minLength": 1, "maxLength": 400, "description": "what to search for"},
		"count": {"type": "integer", "minimum": 1, "maximum": 20, "description": "how many results; leave out for 5"}
	},
	"required": ["query"],
	"additionalProperties": false
}`

// SearchProvider is a web search service: its address, its request format and its answer format.
type SearchProvider struct {
	Name   string
	KeyEnv string // the environment variable with its key
	URL    string // of the service
	ask    func(ctx context.Context, url, key, query string, count int) (*http.Request, error)
	read   func(body []byte) ([]hit, error)
}

// SearchProviders are the supported services. The first one with a key is used.
var SearchProviders = []SearchProvider{
	{"brave", "BRAVE_API_KEY", "https://api.search.brave.com/res/v1/web/search", askBrave, readBrave},
	{"serpapi", "SERPAPI_API_KEY", "https://serpapi.com/search.json", askSerpAPI, readSerpAPI},
	{"tavily", "TAVILY_API_KEY", "https://api.tavily.com/search", askTavily, readTavily},
}

type hit struct{ title, url, text string }

// WebSearch returns the tool web_search, which gets titles, addresses and snippets from a search service. The key is
// sent to the service only; errors do not contain it. The transport decides whether a proxy sees the key.
func WebSearch(provider SearchProvider, key string, secrets *redact.Secrets, transport http.RoundTripper) toolpool.Tool {
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a redirect must not send the key to another host
	}}
	return toolpool.Tool{
		Name:        "web_search",
		Description: `Search the web. "query" is what to search for. Returns titles, addresses and short texts of the best results.`,
		Parameters:  json.RawMessage(webSearchParameters),
		Version:     "1 " + provider.Name,
		Share:       toolpool.ForTTL,
		TTL:         time.Hour,
		Timeout:     getTimeout,
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			a := struct {
				Query string
				Count int
			}{Count: defaultHits}
			if err := json.Unmarshal(args, &a); err != nil {
				return "", fmt.Errorf("read arguments: %w", err)
			}
			return search(ctx, client, provider, key, secrets, a.Query, min(a.Count, maxHits))
		},
	}
}

func search(ctx context.Context, client *http.Client, p SearchProvider, key string, secrets *redact.Secrets, query string, count int) (string, error) {
	req, err := p.ask(ctx, p.URL, key, query, count)
	if err != nil {
		return "", errors.New("the query cannot be sent")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", toolpool.Transient(fmt.Errorf("the search service %s cannot be reached; try again later", p.Name), 0)
	}
	defer resp.Body.Close() // read up to the limit
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return "", fmt.Errorf("the search service %s ended its answer early; try again later", p.Name)
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return "", fmt.Errorf("the search service %s refuses the key in %s (%d); the operator of the worker must fix it. Go on without web search", p.Name, p.KeyEnv, resp.StatusCode)
	case resp.StatusCode == http.StatusTooManyRequests:
		return "", toolpool.HTTPStatus(resp, fmt.Errorf("the search service %s accepts no more queries for now (429); try again later or go on without", p.Name))
	case resp.StatusCode != http.StatusOK:
		return "", toolpool.HTTPStatus(resp, fmt.Errorf("the search service %s answered %d; try another query", p.Name, resp.StatusCode))
	}
	hits, err := p.read(body)
	if err != nil {
		return "", fmt.Errorf("the answer of the search service %s cannot be read", p.Name)
	}
	if len(hits) == 0 {
		return "(no results)", nil
	}
	var out strings.Builder
	for i, h := range hits[:min(len(hits), count)] {
		text := strings.Join(strings.Fields(secrets.Text(h.text)), " ")
		if len(text) > maxSnippet {
			text = strings.ToValidUTF8(text[:maxSnippet], "") + "…"
		}
		fmt.Fprintf(&out, "%d. %s\n   %s\n   %s\n", i+1, h.title, h.url, text)
	}
	return out.String(), nil
}

// Brave Search API, web search: https://api-dashboard.search.brave.com/app/documentation/web-search
func askBrave(ctx context.Context, address, key, query string, count int) (*http.Request, error) {
	q := url.Values{"q": {query}, "count": {strconv.Itoa(count)}, "text_decorations": {"false"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?"+q.Encode(), nil)
	if err == nil {
		req.Header.Set("X-Subscription-Token", key)
	}
	return req, err
}

func readBrave(body []byte) ([]hit, error) {
	var a struct {
		Web struct {
			Results []struct{ Title, URL, Description string }
		}
	}
	err := json.Unmarshal(body, &a)
	hits := make([]hit, len(a.Web.Results))
	for i, r := range a.Web.Results {
		hits[i] = hit{r.Title, r.URL, r.Description}
	}
	return hits, err
}

// SerpAPI, Google engine: https://serpapi.com/search-api
func askSerpAPI(ctx context.Context, address, key, query string, count int) (*http.Request, error) {
	q := url.Values{"engine": {"google"}, "q": {query}, "num": {strconv.Itoa(count)}, "api_key": {key}}
	return http.NewRequestWithContext(ctx, http.MethodGet, address+"?"+q.Encode(), nil)
}

func readSerpAPI(body []byte) ([]hit, error) {
	var a struct {
		OrganicResults []struct{ Title, Link, Snippet string } `json:"organic_results"`
	}
	err := json.Unmarshal(body, &a)
	hits := make([]hit, len(a.OrganicResults))
	for i, r := range a.OrganicResults {
		hits[i] = hit{r.Title, r.Link, r.Snippet}
	}
	return hits, err
}

// Tavily Search: https://docs.tavily.com/documentation/api-reference/endpoint/search
func askTavily(ctx context.Context, address, key, query string, count int) (*http.Request, error) {
	body, err := json.Marshal(map[string]any{"query": query, "max_results": count})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

func readTavily(body []byte) ([]hit, error) {
	var a struct {
		Results []struct{ Title, URL, Content string }
	}
	err := json.Unmarshal(body, &a)
	hits := make([]hit, len(a.Results))
	for i, r := range a.Results {
		hits[i] = hit{r.Title, r.URL, r.Content}
	}
	return hits, err
}
