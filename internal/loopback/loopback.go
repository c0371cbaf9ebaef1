// Package loopback tells this machine from others: plain http, and with it
// credentials in the clear, is for the former alone.
package loopback

import (
	"net"
	"strings"
)

// Is reports whether HOST[:PORT] is this machine: localhost, or an address of the
// loopback network. Other names are not, whatever they look like or resolve to.
func Is(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
