package plan

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	registryclient "github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/retry"
)

// explain names in err the registry and what was asked of it, and says what may help.
// What a server wrote is told only where it is an error of the protocol.
func (r *registry) explain(err error, kind, id string) error {
	if err == nil {
		return nil
	}
	what := "digest " + id
	switch {
	case kind == "blobs":
		what = "blob " + id
	case !strings.Contains(id, ":"):
		what = "tag " + id
	}
	at := fmt.Sprintf("registry %s, repository %s, %s", r.ref.Registry, r.ref.Repository, what)
	answer := (*transport.Error)(nil)
	if !errors.As(err, &answer) {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			// It repeats the method and the url.
			return retry.As(err, fmt.Errorf("%s: %w", at, wrapped.Err))
		}
		return retry.As(err, fmt.Errorf("%s: %w", at, err))
	}
	text := at + ": " + registryclient.Answered(answer)
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += "; if it exists, it is not for everybody: log in with docker login " + r.ref.Registry
	case http.StatusNotFound:
		text += "; there is no such " + strings.Fields(what)[0] + " or repository, or it is hidden from who is not logged in"
	}
	return retry.Answer(&http.Response{StatusCode: answer.StatusCode}, retry.As(err, errors.New(text)))
}
