package http

import (
	"net/url"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/netrc"
)

// ask looks for credentials when the server wants some, once, and reports whether there
// are any that were not sent before.
func (a *auth) ask(u *url.URL) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known || u.Scheme != "https" && !loopback.Is(u.Hostname()) {
		return false
	}
	if a.asked {
		return false
	}
	a.asked = true
	a.name, a.password, a.known = netrc.Lookup(u.Hostname())
	return a.known
}
