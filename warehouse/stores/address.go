package stores

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/file"
	"github.com/kilnbuild/kiln/warehouse/http"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// At opens what a warehouse address names, as formulas and catalogs write it after
// warpforge and rio: with "ca+" before it, or with a scheme of warehouses, a warehouse;
// else it is the URL of one packed ware, and gives that whatever it is asked for. As in
// warpforge, ca+s3:// and the name of a host is a bucket that anybody may read over
// https.
func At(ctx context.Context, rawURL string, o Options) (warehouse.Store, error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return nil, errors.New("it is no warehouse address, which is a URL")
	}
	inner, byContent := strings.CutPrefix(scheme, "ca+")
	host, _, _ := strings.Cut(rest, "/")
	if inner == "s3" && strings.Contains(host, ".") && !strings.Contains(rest, "?") {
		inner = "https"
	}
	switch inner {
	case "file", "http", "https":
		if byContent {
			return Open(ctx, "ca+"+inner+"://"+rest, o)
		}
		objects, err := Object(inner+"://"+rest, o, false)
		if err != nil {
			return nil, err
		}
		return packed.New(objects), nil
	}
	return Open(ctx, rawURL, o)
}

// Object opens the one object that a URL of scheme http, https or file names. known says
// that its bytes are of a known hash: then redirects may lead from https to http.
func Object(rawURL string, o Options, known bool) (packed.Objects, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, parseError(err)
	}
	switch u.Scheme {
	case "http", "https":
		h, err := o.http()
		if err != nil {
			return nil, err
		}
		h.Downgrade = known
		return http.File(rawURL, h)
	case "file":
		p, err := filePath(u)
		return file.File(p), err
	}
	return nil, fmt.Errorf("scheme %q is not supported, use http, https or file", u.Scheme)
}

// parseError takes the URL off an error, since it may have a password in it.
func parseError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// filePath returns the path in a file URL.
func filePath(u *url.URL) (string, error) {
	if u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path) {
		return "", fmt.Errorf("a %s url has the form %s:///absolute/path", u.Scheme, u.Scheme)
	}
	return u.Path, nil
}
