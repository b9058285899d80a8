package endpoint

import (
	"net"
	"net/http"
	"time"
)

// NewTransport returns a transport for many long streams to few hosts.
//
// It does not limit the wait for headers: a server may send them only when a request leaves its queue, and the call's
// context limits the turn. It drops idle connections after 4 s, because the servers drop theirs after 5 s and a request
// on a closing connection is lost. It uses HTTP/1.1: closing a stream's connection is the abort.
func NewTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns:        2048,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     4 * time.Second,
		DisableCompression:  true, // a compressing proxy would delay events
		Protocols:           &protocols,
	}
}
