package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"time"
)

const (
	downloadTries = 4
	maxRedirects  = 10                     // as browsers and Go's own client
	firstPause    = 500 * time.Millisecond // doubled after each try
	maxPause      = 30 * time.Second       // however long a server asks to wait
	stallTime     = 60 * time.Second       // longer than servers make an archive on demand for

	// DefaultMaxDownload is how many bytes one url may give: the largest toolchains
	// and data sets published as one archive are below it, a full disk is above.
	DefaultMaxDownload = 64 << 30
)

// A downloader brings the bytes of a url into a file.
type downloader struct {
	client *http.Client
	dir    string        // for files being fetched
	max    int64         // bytes
	stall  time.Duration // without a byte, a connection counts as dead
	pause  func(ctx context.Context, d time.Duration) error
}

// A download is a file that was fetched. The caller removes it.
type download struct {
	file   *os.File // at its beginning
	name   string   // last component of the url's path, "file" if it has none
	sha256 string   // 64 hex digits
}

func (d *download) remove() {
	os.Remove(d.file.Name())
	d.file.Close() // last: it ends the lock that keeps sweepDownloads off
}

// finalError is an error that trying again cannot change.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// retryAfter is a temporary error of a server that said when to come back.
type retryAfter struct {
	error
	after time.Duration
}

func (e retryAfter) Unwrap() error { return e.error }

// get fetches rawURL, of scheme http, https or file. wantSHA256, if not "", is what
// the bytes must hash to. Failures that may pass are tried again, with pauses.
// progress, if not nil, is called with the bytes fetched and the total, or -1.
func (d *downloader) get(ctx context.Context, rawURL, wantSHA256 string, progress func(done, total int64)) (*download, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	open := d.openHTTP
	switch u.Scheme {
	case "http", "https":
	case "file":
		open = openFile
	default:
		return nil, fmt.Errorf("fetch %s: scheme %q is not supported, use http, https or file", redactURL(rawURL), u.Scheme)
	}
	dl, err := d.fetch(ctx, u, open, wantSHA256, progress)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", redactURL(rawURL), err)
	}
	dl.name = baseName(u.Path)
	return dl, nil
}

// fetch is get for what open opens. Its errors do not name u.
func (d *downloader) fetch(ctx context.Context, u *url.URL, open opener, wantSHA256 string, progress func(done, total int64)) (*download, error) {
	f, err := newDownloadFile(d.dir)
	if err != nil {
		return nil, err
	}
	dl := &download{file: f}
	for try := 1; ; try++ {
		dl.sha256, err = d.try(ctx, u, open, f, wantSHA256 != "", progress)
		var final finalError
		if err == nil || ctx.Err() != nil || errors.As(err, &final) || try == downloadTries {
			break
		}
		if pauseErr := d.pause(ctx, pauseFor(try, err)); pauseErr != nil {
			err = pauseErr
			break
		}
	}
	if err == nil && wantSHA256 != "" && dl.sha256 != wantSHA256 {
		err = wrongSHA256(dl.sha256, wantSHA256)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		dl.remove()
		return nil, err
	}
	return dl, nil
}

func baseName(urlPath string) string {
	if name := path.Base(urlPath); name != "/" && name != "." && name != ".." {
		return name
	}
	return "file"
}

// pauseFor doubles with each try and varies, so that clients that failed together
// do not come back together. A server's own wish counts if it is longer.
func pauseFor(try int, err error) time.Duration {
	pause := firstPause << (try - 1)
	pause += rand.N(pause / 2)
	var asked retryAfter
	if errors.As(err, &asked) {
		pause = max(pause, asked.after)
	}
	return min(pause, maxPause)
}

func pauseTimer(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// opener starts to read u. size is -1 if it is not known.
type opener func(ctx context.Context, u *url.URL, verified bool) (body io.ReadCloser, size int64, err error)

// try reads u into f from its beginning and returns the SHA-256 of the bytes.
func (d *downloader) try(ctx context.Context, u *url.URL, open opener, f *os.File, verified bool, progress func(done, total int64)) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(d.stall, func() { cancel(fmt.Errorf("nothing came for %s", d.stall)) })
	defer stall.Stop()
	body, size, err := open(ctx, u, verified)
	if err != nil {
		return "", causeOf(ctx, err)
	}
	defer body.Close()
	if size > d.max {
		return "", finalError{fmt.Errorf("%d bytes are more than the limit of %d", size, d.max)}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", finalError{err}
	}
	if err := f.Truncate(0); err != nil {
		return "", finalError{err}
	}
	hash := sha256.New()
	var done int64
	for buf := make([]byte, 128<<10); ; {
		n, err := body.Read(buf)
		if n > 0 {
			stall.Reset(d.stall)
			done += int64(n)
			hash.Write(buf[:n])
			if _, err := f.Write(buf[:n]); err != nil {
				return "", finalError{err}
			}
			if progress != nil {
				progress(done, size)
			}
		}
		switch {
		case done > d.max:
			return "", finalError{fmt.Errorf("more bytes than the limit of %d", d.max)}
		case err == io.EOF && size >= 0 && done != size:
			return "", fmt.Errorf("ended after %d of %d bytes", done, size)
		case err == io.EOF:
			return hex.EncodeToString(hash.Sum(nil)), nil
		case err != nil:
			return "", causeOf(ctx, fmt.Errorf("after %d bytes: %w", done, err))
		}
	}
}

// causeOf returns why ctx was cancelled, if it was, else err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func openFile(_ context.Context, u *url.URL, _ bool) (io.ReadCloser, int64, error) {
	if u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path) {
		return nil, 0, finalError{errors.New("a file url has the form file:///absolute/path")}
	}
	f, err := os.Open(u.Path)
	if err != nil {
		return nil, 0, finalError{err}
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file; for a directory, use a ware with path")
	}
	if err != nil {
		f.Close()
		return nil, 0, finalError{err}
	}
	return f, info.Size(), nil
}

func wrongSHA256(got, want string) error {
	return mismatchError{fmt.Errorf("the bytes have sha256 %s, wanted is %s", got, want)}
}
