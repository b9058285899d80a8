package loopback

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHost(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"localhost", "127.0.0.1", "127.9.9.9", "::1"} {
		assert.True(t, Host(host), host)
	}
	for _, host := range []string{"", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1:80"} {
		assert.False(t, Host(host), host)
	}
}
