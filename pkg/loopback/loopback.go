// Package loopback tells which hosts are reachable from this machine only.
package loopback

import "net"

// Host reports whether a host, without a port, is localhost or a loopback address.
func Host(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
