package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/stores"
)

// DefaultMaxDownload is how many bytes one url may give: the largest toolchains and
// data sets published as one archive are below it, a full disk is above.
const DefaultMaxDownload = 64 << 30

// A downloader brings the bytes of a url into a file.
type downloader struct {
	transport http.RoundTripper // nil: one that obeys the environment's proxies
	dir       string            // for files being fetched
	max       int64             // bytes
	retry     retry.Policy
	have      func(sha256 string) bool // as in packed.Fetch; may be nil
}

func newDownloader(cacheDir string, client *http.Client, max int64, policy retry.Policy) downloader {
	d := downloader{dir: filepath.Join(cacheDir, "download"), max: max, retry: policy}
	if client != nil {
		d.transport = client.Transport
	}
	if d.max == 0 {
		d.max = DefaultMaxDownload
	}
	return d
}

func (src *sources) downloader() downloader {
	return newDownloader(src.o.CacheDir, src.o.HTTPClient, src.o.MaxDownload, src.retry())
}

func (src *sources) retry() retry.Policy { return retry.Policy{Pause: src.o.pause} }

// newTransport obeys the proxies of the environment, and gives bytes as they are, not
// decompressed because of a header.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	return t
}

// options are those of stores that d fetches from.
func (d *downloader) options() stores.Options {
	return stores.Options{Transport: d.transport, Retry: d.retry}
}

// A download is a file that was fetched. It is there until who was given it returns.
type download struct {
	file   *os.File // at its beginning
	name   string   // last component of the url's path, "file" if it has none
	sha256 string   // 64 hex digits
	kind   string   // media type, as its server says
	asked  bool     // whoever asked for it said what it has to hash to
}

// get fetches rawURL, of scheme http, https or file, and calls use with what it gave.
// wantSHA256, if not "", is what the bytes must hash to. Failures that may pass are
// tried again, with pauses. progress, if not nil, is called with the bytes fetched and
// the total, or -1. The error matches ErrMismatch or ErrUnavailable unless it is use's.
// use is not called if another process was fetching and d.have is then true.
func (d *downloader) get(ctx context.Context, rawURL, wantSHA256 string, progress func(done, total int64), use func(*download) error) error {
	err := d.getURL(ctx, rawURL, wantSHA256, progress, use)
	var used *useError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &used):
		return used.error
	}
	err = fmt.Errorf("fetch %s: %w", redactURL(rawURL), err)
	if !errors.Is(err, ErrMismatch) {
		err = unavailableError{err}
	}
	return err
}

func (d *downloader) getURL(ctx context.Context, rawURL, wantSHA256 string, progress func(done, total int64), use func(*download) error) error {
	object, err := stores.Object(rawURL, d.options(), wantSHA256 != "")
	if err != nil {
		return err
	}
	defer object.Close()
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	f := packed.Fetch{
		Open: func(ctx context.Context, offset int64, version string) (*packed.Object, error) {
			o, err := object.Open(ctx, "", offset, version)
			if missing := (*warehouse.MissingError)(nil); errors.As(err, &missing) && missing.Reason != nil {
				err = missing.Reason
			}
			return o, err
		},
		From: object.String(), Key: "url " + rawURL, Progress: progress,
	}
	if wantSHA256 != "" {
		f.Key = "sha256 " + wantSHA256 // wherever it is fetched from
	}
	return d.fetch(ctx, f, wantSHA256, func(dl *download) error {
		dl.name = baseName(u.Path)
		return use(dl)
	})
}

// A useError is one of who used a download.
type useError struct{ error }

// fetch fetches what f opens, and calls use when all has come and hashes to wantSHA256.
// An error of use is a useError.
func (d *downloader) fetch(ctx context.Context, f packed.Fetch, wantSHA256 string, use func(*download) error) error {
	f.Dir, f.Max, f.Retry, f.Proven, f.Have = d.dir, d.max, d.retry, wantSHA256 != "", d.have
	return f.Do(ctx, func(in *packed.Incoming) error {
		hash := sha256.New()
		if _, err := io.Copy(hash, in); err != nil {
			return err
		}
		sum := hex.EncodeToString(hash.Sum(nil))
		if wantSHA256 != "" && sum != wantSHA256 {
			return wrongSHA256(sum, wantSHA256)
		}
		file, err := in.Whole()
		if err != nil {
			return err
		}
		if err := use(&download{file: file, sha256: sum, kind: in.Type(), asked: wantSHA256 != ""}); err != nil {
			return &useError{err}
		}
		in.Leave(sum)
		return nil
	})
}

func baseName(urlPath string) string {
	if name := path.Base(urlPath); name != "/" && name != "." && name != ".." {
		return name
	}
	return "file"
}

func wrongSHA256(got, want string) error {
	return mismatchError{fmt.Errorf("the bytes have sha256 %s, wanted is %s", got, want)}
}
