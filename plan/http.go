package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

func (d *downloader) openHTTP(ctx context.Context, u *url.URL, verified bool) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, finalError{err}
	}
	req.Header.Set("User-Agent", "kiln")
	client := *d.client
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		return checkRedirect(next, via, verified)
	}
	resp, err := client.Do(req)
	if err != nil {
		// The client's error repeats the method and the url.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, resp.ContentLength, nil
	}
	resp.Body.Close()
	err = fmt.Errorf("the server answered %s", resp.Status)
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if resp.StatusCode < 500 {
			return nil, 0, finalError{err}
		}
	}
	if s, parseErr := strconv.Atoi(resp.Header.Get("Retry-After")); parseErr == nil && s > 0 {
		err = retryAfter{err, time.Duration(min(s, 3600)) * time.Second}
	}
	return nil, 0, err
}

// checkRedirect limits redirects, and refuses one from https to http unless the
// bytes are verified by a hash that was known before.
func checkRedirect(next *http.Request, via []*http.Request, verified bool) error {
	switch {
	case len(via) > maxRedirects:
		return finalError{fmt.Errorf("redirected more than %d times", maxRedirects)}
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return finalError{fmt.Errorf("redirected to %s, which is not http", redactURL(next.URL.String()))}
	case via[0].URL.Scheme == "https" && next.URL.Scheme == "http" && !verified:
		return finalError{fmt.Errorf("redirected from https to %s; add sha256 to the ware to allow it", redactURL(next.URL.String()))}
	}
	return nil
}

// newHTTPClient makes the client for sources: proxies by environment, and bytes as
// they are, not decompressed because of a header.
func newHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	return &http.Client{Transport: t}
}
