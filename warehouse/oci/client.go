package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	warehousehttp "github.com/kilnbuild/kiln/warehouse/http"
)

// A request is one of the distribution specification's.
type request struct {
	method string
	at     string // below the repository, such as "manifests/TAG", or a URL that the registry gave
	what   string // of the object, for errors: "tag x", "blob sha256:…"
	header http.Header
	query  url.Values
	body   *io.SectionReader // nil: none
	write  bool              // it takes the right to push
}

const maxRedirects = 10

// send sends q until the registry gives one of the answers, each a status, or one that trying
// again cannot change. The caller closes the answer's body.
func (r *Repository) send(ctx context.Context, q request, answers ...int) (*http.Response, error) {
	var resp *http.Response
	err := r.o.Retry.Do(ctx, func() (err error) {
		resp, err = r.once(ctx, q, answers)
		return err
	})
	return resp, r.explain(ctx, q, err)
}

func (r *Repository) once(ctx context.Context, q request, answers []int) (*http.Response, error) {
	client, err := r.connect(ctx, q.write)
	if err != nil {
		return nil, err
	}
	req, err := r.newRequest(ctx, q)
	if err != nil {
		return nil, retry.Final(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, warehousehttp.WithoutURL(err)
	}
	if err := transport.CheckError(resp, answers...); err != nil {
		resp.Body.Close()
		return nil, retry.Answer(resp, err)
	}
	return resp, nil
}

func (r *Repository) newRequest(ctx context.Context, q request) (*http.Request, error) {
	// The transport makes http of it where that is what the registry speaks.
	u := &url.URL{Scheme: "https", Host: r.repo.RegistryStr(), Path: "/v2/" + r.repo.RepositoryStr() + "/"}
	if strings.Contains(q.at, "/") && (q.at[0] == '/' || strings.Contains(q.at, "://")) {
		given, err := u.Parse(q.at)
		if err != nil {
			return nil, errors.New("the registry gave a broken URL")
		}
		u = given
	} else {
		u.Path += q.at
	}
	if q.query != nil {
		query := u.Query()
		for key, values := range q.query {
			query[key] = values
		}
		u.RawQuery = query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for key, values := range q.header {
		req.Header[key] = values
	}
	if q.body != nil {
		warehousehttp.SetBody(req, q.body)
	}
	return req, nil
}

// connect asks the registry how it wants to be talked to, and for what right. It does
// so once for each right, if that goes well.
func (r *Repository) connect(ctx context.Context, write bool) (*http.Client, error) {
	right := transport.PullScope
	if write {
		right = transport.PushScope
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.clients[right]; c != nil {
		return c, nil
	}
	auth, err := r.auth(ctx)
	if err != nil {
		return nil, err
	}
	rt, err := transport.NewWithContext(ctx, r.repo.Registry, auth, r.inner.Transport, []string{r.repo.Scope(right)})
	if err != nil {
		if answer := answerOf(err); answer != nil && answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests {
			err = retry.Final(err)
		}
		return nil, warehousehttp.WithoutURL(err)
	}
	c := &http.Client{Transport: transport.NewUserAgent(rt, "kiln"), CheckRedirect: checkRedirect}
	r.clients[right] = c
	return c, nil
}

// checkRedirect limits redirects. Credentials do not follow them: the transport adds them
// to what goes to the registry alone.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return retry.Final(fmt.Errorf("redirected more than %d times", maxRedirects))
	case next.URL.Scheme != "https" && (next.URL.Scheme != "http" || via[0].Response != nil):
		return retry.Final(fmt.Errorf("redirected to %s://%s", next.URL.Scheme, next.URL.Host))
	}
	next.Header.Del("Authorization")
	return nil
}

// explain names in err the registry and what was asked of it, and says what may help.
// What a server wrote is told only where it is an error of the protocol.
func (r *Repository) explain(ctx context.Context, q request, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	at := fmt.Sprintf("registry %s, repository %s, %s", r.repo.RegistryStr(), r.repo.RepositoryStr(), q.what)
	answer := answerOf(err)
	if answer == nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	text := fmt.Errorf("%s: %s", at, registry.Answered(answer))
	switch s := answer.StatusCode; {
	case s == http.StatusNotFound && !q.write:
		return &warehouse.MissingError{What: at}
	case s == http.StatusNotFound:
		return fmt.Errorf("%w; make the repository, if this registry wants that before the first push", text)
	case q.write && (s == http.StatusUnauthorized || s == http.StatusForbidden):
		return readOnlyError{fmt.Errorf("%w; log in with docker login %s, as someone who may push there", text, r.repo.RegistryStr())}
	case q.write && s == http.StatusMethodNotAllowed:
		return readOnlyError{fmt.Errorf("%w; it takes nothing now", text)}
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return fmt.Errorf("%w; if it exists, it is not for everybody: log in with docker login %s", text, r.repo.RegistryStr())
	}
	return text
}

// answerOf returns the answer that err tells of, or nil.
func answerOf(err error) *transport.Error {
	var answer *transport.Error
	errors.As(err, &answer)
	return answer
}

// readOnlyError is an error about a place that takes nothing.
type readOnlyError struct{ error }

func (e readOnlyError) Unwrap() error        { return e.error }
func (e readOnlyError) Is(target error) bool { return target == warehouse.ErrReadOnly }
