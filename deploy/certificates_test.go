package deploy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCertificates makes certificates with the commands of docs/deploy.md, and verifies them with Go's TLS as a worker does.
func TestCertificates(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl is installed, which redis/certificates.sh needs")
	}
	dir := filepath.Join(t.TempDir(), "tls")
	file := func(name string) string { return filepath.Join(dir, "redis", name) }
	issue := func(names ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "redis/certificates.sh", append([]string{dir}, names...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	issue("10.0.0.1", "redis.example.org", "fd00::1")
	for name, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "ca.key"): 0o600, file("redis.key"): 0o600} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), "%s: only the owner may read keys", name)
	}
	authority, err := os.ReadFile(file("ca.crt"))
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(authority))

	connects := func(name string) error {
		own, err := tls.LoadX509KeyPair(file("redis.crt"), file("redis.key"))
		require.NoError(t, err)
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: trusted, ServerName: name, MinVersion: tls.VersionTLS12}}).
			DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err == nil {
			err = c.Close()
		}
		return err
	}
	for _, name := range []string{"redis", "localhost", "127.0.0.1", "10.0.0.1", "redis.example.org", "fd00::1"} {
		assert.NoError(t, connects(name), name)
	}
	assert.Error(t, connects("10.0.0.2"))

	issue("10.0.0.2")
	again, err := os.ReadFile(file("ca.crt"))
	require.NoError(t, err)
	assert.Equal(t, string(authority), string(again), "the authority changed")
	assert.NoError(t, connects("10.0.0.2"))
	assert.Error(t, connects("10.0.0.1"), "a name that the second run omitted")
}
