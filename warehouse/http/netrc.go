package http

import (
	"net/url"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/netrc"
)

// ask looks for credentials when the server wants some and a request had none, and
// reports whether there are any by now: another request may have found them meanwhile.
func (a *auth) ask(u *url.URL) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known && (u.Scheme == "https" || loopback.Is(u.Hostname())) {
		a.name, a.password, a.known = netrc.Lookup(u.Hostname())
	}
	return a.known
}
