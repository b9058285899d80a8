package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	maxPage      = 2 << 20   // bytes read of one answer, as UTF-8
	maxEncoded   = 8 << 20   // bytes read of one answer in its encoding
	maxPageText  = 128 << 10 // bytes of text in one result
	maxRedirects = 5
	getTimeout   = 30 * time.Second
)

const httpGetParameters = `{
	"type": "object",
	"properties": {"url": {"type": "string", "description": "address that begins with https:// or http://"}},
	"required": ["url"],
	"additionalProperties": false
}`

// GetConfig limits the addresses that http_get may reach.
type GetConfig struct {
	// AllowHosts are the only allowed hosts: names, or "*.example.com" for all names below one. Empty allows all public hosts.
	AllowHosts []string
	// AllowNetworks are allowed networks that are not public, such as 10.1.0.0/16.
	AllowNetworks []netip.Prefix
}

// HTTPGet returns the tool http_get, which fetches a public page or file as text. It checks the resolved address of
// every connection, so that neither a redirect nor a name server can lead it to this machine or a private network. It
// ignores proxies in the environment. Secrets are redacted before the text is cut.
func HTTPGet(cfg GetConfig, secrets *redact.Secrets) toolpool.Tool {
	client := cfg.client()
	return toolpool.Tool{
		Name: "http_get",
		Description: `Fetch a page or text file from the web. "url" begins with https:// or http://. HTML comes back as Markdown; ` +
			`binary files cannot be read. At most 128 KiB of text are returned.`,
		Parameters: json.RawMessage(httpGetParameters),
		Version:    "1",
		Share:      toolpool.ForTTL,
		TTL:        5 * time.Minute,
		Timeout:    getTimeout,
		MaxBytes:   maxPageText,
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var a struct{ URL string }
			if err := json.Unmarshal(args, &a); err != nil {
				return "", fmt.Errorf("read arguments: %w", err)
			}
			return get(ctx, client, cfg, secrets, a.URL)
		},
	}
}

// errForbidden is the error for an address that agents may not reach. The model reads it.
var errForbidden = errors.New("that address is not on the public network, and agents may not reach it")

func (cfg GetConfig) client() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		return cfg.checkAddress(address)
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			DisableKeepAlives:   true, // pages are on different hosts, so idle connections would pile up
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return cfg.checkURL(r.URL)
		},
	}
}

// checkURL checks a URL before its host name is resolved.
func (cfg GetConfig) checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the url must begin with https:// or http://, not %.20q", u.Scheme+":")
	case u.Hostname() == "":
		return errors.New("the url names no host")
	case u.User != nil:
		return errors.New("the url must not hold a user name or password")
	}
	if len(cfg.AllowHosts) == 0 {
		return nil
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	for _, allowed := range cfg.AllowHosts {
		allowed = strings.ToLower(allowed)
		if below, wild := strings.CutPrefix(allowed, "*."); host == allowed || wild && strings.HasSuffix(host, "."+below) {
			return nil
		}
	}
	return fmt.Errorf("agents may not reach the host %.80q; allowed are: %s", host, strings.Join(cfg.AllowHosts, ", "))
}

// checkAddress is called with the resolved address of each connection before the connection is made.
func (cfg GetConfig) checkAddress(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errForbidden
	}
	ip := ap.Addr().WithZone("").Unmap()
	for _, n := range cfg.AllowNetworks {
		if n.Contains(ip) {
			return nil
		}
	}
	if !public(ip) || ownAddress(ip) {
		return errForbidden
	}
	return nil
}

// ownAddress reports whether ip is an address of this machine, whose services may trust local callers. If the
// interfaces are unreadable, it returns false.
func ownAddress(ip netip.Addr) bool {
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == ip {
				return true
			}
		}
	}
	return false
}

// notPublic and notPublic6 are the special-purpose networks of the IANA registries (RFC 6890 and its updates). notPublic6
// includes 6to4 and Teredo, because they lead to an embedded IPv4 address.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"168.63.129.16/32", // cloud services behind an address that looks public
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3") // everything that IANA has allocated of IPv6
	notPublic6    = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)

// public reports whether ip is an ordinary address of the public network. Metadata services of clouds are link-local or
// private. NAT64 (64:ff9b::/96) is outside of 2000::/3 and therefore blocked.
func public(ip netip.Addr) bool {
	blocked := notPublic
	if !ip.Is4() {
		if !globalUnicast.Contains(ip) {
			return false
		}
		blocked = notPublic6
	}
	for _, n := range blocked {
		if n.Contains(ip) {
			return false
		}
	}
	return true
}

func get(ctx context.Context, client *http.Client, cfg GetConfig, secrets *redact.Secrets, address string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return "", errors.New("the url cannot be read")
	}
	if err := cfg.checkURL(u); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", errors.New("the url cannot be read")
	}
	req.Header.Set("User-Agent", "batchagent")
	req.Header.Set("Accept", "text/html, text/plain, application/json, text/*;q=0.9, */*;q=0.1")
	resp, err := client.Do(req)
	if err != nil {
		return "", fetchError(ctx, err)
	}
	defer resp.Body.Close() // read up to the limit
	kind, params, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK {
		return "", toolpool.HTTPStatus(resp, fmt.Errorf("the server answered %s", resp.Status))
	}
	if !readable(kind) {
		return "", fmt.Errorf("the answer is %.80q, which cannot be read as text", secrets.Text(kind))
	}
	decoded, err := decode(io.LimitReader(resp.Body, maxEncoded), secrets.Text(params["charset"]))
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(secrets.Reader(decoded), maxPage+1))
	if err != nil {
		return "", fetchError(ctx, err)
	}
	whole := len(body) <= maxPage
	text, err := asUTF8(body[:min(len(body), maxPage)], whole)
	if err != nil {
		return "", err
	}
	if kind == "text/html" || kind == "application/xhtml+xml" {
		if text, err = markdown(ctx, text); err != nil {
			return "", err
		}
	}
	if !whole {
		text += fmt.Sprintf("\n[cut: the answer is longer than %d bytes]", maxPage)
	}
	return text, nil
}

// fetchError removes the address, which the model knows, and transport internals from an error.
func fetchError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errForbidden) {
		return errForbidden
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("the host %.80q cannot be found", dns.Name)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("the page cannot be fetched: %w", err)
}

func readable(kind string) bool {
	switch kind {
	case "", "application/json", "application/xml", "application/xhtml+xml", "application/javascript", "application/x-ndjson", "application/yaml":
		return true
	}
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml")
}

// decode returns a reader of UTF-8 for a body in an encoding.
func decode(body io.Reader, charset string) (io.Reader, error) {
	if charset == "" || strings.EqualFold(charset, "utf-8") {
		return body, nil
	}
	enc, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("the answer has the encoding %.40q, which is not known", charset)
	}
	return enc.NewDecoder().Reader(body), nil
}

// asUTF8 checks a text. If whole is false, it may end within a character.
func asUTF8(body []byte, whole bool) (string, error) {
	for n := 1; !whole && n < utf8.UTFMax && !utf8.Valid(body); n++ {
		body = body[:len(body)-1]
	}
	if !utf8.Valid(body) {
		return "", errors.New("the answer is not UTF-8 text: it is binary, or in another encoding that it does not name")
	}
	return string(body), nil
}
