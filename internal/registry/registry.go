// Package registry has what all that speaks to container registries needs alike: whose
// credentials count, and what an answer says. It makes no requests.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/retry"
)

// Credentials returns those of a repository: of docker's configuration, podman's, and the
// helpers they name. A helper is a program, which may wait for a person: a cancelled ctx
// does not wait for it.
func Credentials(ctx context.Context, repo name.Repository) (authn.Authenticator, error) {
	type answer struct {
		auth authn.Authenticator
		err  error
	}
	found := make(chan answer, 1)
	go func() {
		auth, err := authn.DefaultKeychain.Resolve(repo)
		found <- answer{auth, err}
	}()
	select {
	case a := <-found:
		if a.err != nil {
			return nil, retry.Final(fmt.Errorf("credentials of docker's configuration: %w", a.err))
		}
		return a.auth, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// BlobGone reports whether a manifest was refused since the registry does not see a blob
// that it names. Put again, with its blobs, it may be taken: docker's registry loses sight
// of a blob for a moment while another client pushes it too, and one that collects garbage
// may just have removed it.
func BlobGone(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool {
		return d.Code == transport.ManifestBlobUnknownErrorCode
	})
}

const maxCode = 200 // bytes of what a registry wrote that are told

// Answered says what a registry answered: the status, and the protocol's errors. What else
// it wrote is not told.
func Answered(answer *transport.Error) string {
	text := fmt.Sprintf("the registry answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	var list []string
	for _, d := range answer.Errors {
		code := string(d.Code)
		if d.Message != "" {
			code += ": " + d.Message
		}
		if len(code) > maxCode {
			code = code[:maxCode] + "…"
		}
		list = append(list, strings.ToValidUTF8(code, "?"))
	}
	if list != nil {
		text += fmt.Sprintf(" (%q)", strings.Join(list, "; "))
	}
	return text
}

// PlainGuard refuses requests by plain http to other machines than this one.
type PlainGuard struct {
	Next http.RoundTripper
	Help string // what else can be done: the end of a sentence, or ""
}

// RoundTrip implements http.RoundTripper.
func (g PlainGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !loopback.Is(req.URL.Host) {
		return nil, retry.Final(fmt.Errorf("%s would be spoken to by plain http, which kiln does only on this machine%s", req.URL.Host, g.Help))
	}
	return g.Next.RoundTrip(req)
}
