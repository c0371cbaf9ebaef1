package gitremote

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/netrc"
)

// credentials are what a server may be told of who asks. What the url has is sent at
// once. Else, when a server asks, the .netrc file is read, then git's credential
// helpers are asked, if git is installed; neither ever asks a person. They are sent
// by https, or to this machine.
type credentials struct {
	name, password string
	from           string // where they are from, for errors
	tried          int    // how many places have been asked
}

func newCredentials(u *url.URL) *credentials {
	c := &credentials{}
	if password, ok := u.User.Password(); ok {
		c.name, c.password, c.from = u.User.Username(), password, "the URL"
	}
	return c
}

func (c *credentials) sent() bool { return c.from != "" }

// forget drops what was meant for another host.
func (c *credentials) forget() { *c = credentials{} }

func (c *credentials) apply(req *http.Request) {
	if c.sent() {
		req.SetBasicAuth(c.name, c.password)
	}
}

// next looks for credentials where it has not looked yet, and reports whether it
// found any.
func (c *credentials) next(ctx context.Context, u *url.URL) bool {
	if u.Scheme != "https" && !loopback.Is(u.Hostname()) || c.from == "the URL" {
		return false
	}
	for {
		c.tried++
		var ok bool
		switch c.tried {
		case 1:
			c.name, c.password, ok = netrc.Lookup(u.Hostname())
			c.from = "the .netrc file"
		case 2:
			c.name, c.password, ok = helper(ctx, u)
			c.from = "git's credential helper"
		default:
			return false
		}
		if ok {
			return true
		}
		c.from = ""
	}
}

// helper asks git's credential helpers. git is only run if it is there, where no
// repository's configuration counts, and can ask nobody.
func helper(ctx context.Context, u *url.URL) (name, password string, ok bool) {
	cmd := osexec.CommandContext(ctx, "git", "credential", "fill")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS=true", "GCM_INTERACTIVE=never")
	var in lines
	in.WriteString("protocol=" + u.Scheme + "\nhost=" + u.Host + "\npath=" + strings.TrimPrefix(u.Path, "/") + "\n\n")
	if strings.ContainsAny(u.Host+u.Path, "\n\r\x00") {
		return "", "", false
	}
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		return "", "", false
	}
	for line := range bytes.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		switch key {
		case "username":
			name = value
		case "password":
			password = value
		}
	}
	return name, password, password != ""
}
