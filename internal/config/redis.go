package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
)

// Redis describes how to reach Redis.
type Redis struct {
	URL string
	TLS *tls.Config // nil uses the settings of the URL
}

// ReadRedis checks the form of a Redis URL, as [RedisURL] does, and reads the files for TLS connections that the environment
// names, once. All are PEM. BATCHAGENT_REDIS_CA holds the certificates to trust instead of the system's. BATCHAGENT_REDIS_CERT
// and BATCHAGENT_REDIS_KEY are the client certificate and its key. Files without TLS in the URL are an error, because the
// connection would not be encrypted.
func ReadRedis(raw string, getenv func(string) string) (Redis, error) {
	u, err := RedisURL(raw, getenv)
	if err != nil {
		return Redis{}, err
	}
	ca, cert, key := getenv("BATCHAGENT_REDIS_CA"), getenv("BATCHAGENT_REDIS_CERT"), getenv("BATCHAGENT_REDIS_KEY")
	switch {
	case ca == "" && cert == "" && key == "":
		return Redis{URL: u}, nil
	case !asksForTLS(u):
		return Redis{}, errors.New("BATCHAGENT_REDIS_CA, _CERT or _KEY is set, but the Redis URL does not use TLS: write rediss://, or ?tls=true for a cluster or sentinels")
	case (cert == "") != (key == ""):
		return Redis{}, errors.New("BATCHAGENT_REDIS_CERT and BATCHAGENT_REDIS_KEY go together: the certificate and its key")
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return Redis{}, fmt.Errorf("BATCHAGENT_REDIS_CA: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return Redis{}, fmt.Errorf("BATCHAGENT_REDIS_CA: %s holds no certificate in PEM form", ca)
		}
	}
	if cert != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return Redis{}, fmt.Errorf("BATCHAGENT_REDIS_CERT and BATCHAGENT_REDIS_KEY: %w", err)
		}
		t.Certificates = []tls.Certificate{own}
	}
	return Redis{URL: u, TLS: t}, nil
}

// asksForTLS reports whether a connection to a Redis URL is encrypted.
func asksForTLS(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "rediss" || u.Query().Get("tls") == "true")
}
