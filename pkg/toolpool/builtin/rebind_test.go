package builtin_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

// A name may resolve to another address on the next request, or to several addresses. The check applies to the address
// of each connection. Two loopback addresses represent the public network (127.0.0.2) and the private one (127.0.0.1).
func TestHTTPGetOfNamesThatTurn(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
	}))
	defer inside.Close()
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("this machine has one loopback address only: %v", err)
	}
	outside := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" { // to the same name, which now has another address
			http.Redirect(w, r, "http://"+r.URL.Query().Get("host")+":"+portOf(inside.URL)+"/", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("outside"))
	}))
	_ = outside.Listener.Close()
	outside.Listener = listener
	outside.Start()
	defer outside.Close()
	// A proxy from the environment would connect instead of this process.
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, inside.URL)
	}
	answerNames(t, map[string][][]string{
		"turns.test.":  {{"127.0.0.2"}, {"127.0.0.1"}},
		"both.test.":   {{"127.0.0.1", "127.0.0.2"}},
		"inside.test.": {{"127.0.0.1"}},
		"mapped.test.": {{"::ffff:127.0.0.1"}},
		"any.test.":    {{"0.0.0.0"}, {"::"}},
	})
	p := getter(t, builtin.GetConfig{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	get := func(host, rest string) string {
		return use(t, p, "http_get", args{"url": "http://" + host + ":" + rest}).Content
	}
	assert.Contains(t, get("turns.test", portOf(outside.URL)+"/back?host=turns.test"), "not on the public network")
	assert.Equal(t, "outside", get("both.test", portOf(outside.URL)+"/"), "the allowed address is reached")
	assert.NotEqual(t, "outside", get("both.test", portOf(inside.URL)+"/"))
	for _, host := range []string{"inside.test", "mapped.test", "any.test", "any.test"} {
		assert.Contains(t, get(host, portOf(inside.URL)+"/"+fmt.Sprint(len(host))), "not on the public network", host)
	}
	mu.Lock()
	defer mu.Unlock()
	assert.Zero(t, asked, "the private server")
}

func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// answerNames makes this program use its own name server until the test's end. names has the addresses for each request
// for a name; the last entry serves all further requests.
func answerNames(t *testing.T, names map[string][][]string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		asked := map[string]int{}
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(packet[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			q := m.Questions[0]
			name := strings.ToLower(q.Name.String())
			lists, known := names[name]
			if !known {
				m.RCode = dnsmessage.RCodeNameError
			} else {
				at := fmt.Sprint(name, q.Type)
				list := lists[min(asked[at], len(lists)-1)]
				asked[at]++
				m.Answers = answers(q, list)
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	})
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		_ = conn.Close()
		serving.Wait()
	})
}

func answers(q dnsmessage.Question, addresses []string) (out []dnsmessage.Resource) {
	for _, text := range addresses {
		ip := netip.MustParseAddr(text)
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}}
		switch {
		case q.Type == dnsmessage.TypeA && ip.Is4():
			r.Body = &dnsmessage.AResource{A: ip.As4()}
		case q.Type == dnsmessage.TypeAAAA && !ip.Is4():
			r.Body = &dnsmessage.AAAAResource{AAAA: ip.As16()}
		default:
			continue
		}
		out = append(out, r)
	}
	return out
}
