package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/kilnbuild/kiln/internal/retry"
	warehousehttp "github.com/kilnbuild/kiln/warehouse/http"
)

// A request is one of S3's, on an object.
type request struct {
	method string
	key    string
	query  url.Values
	header http.Header
	body   *io.SectionReader // nil: none
	sum    string            // hex SHA-256 of body, which the server compares; "": there is none
}

const (
	noSum        = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of no bytes
	maxRedirects = 10
	// expectAbove is the size from which a body waits for the server's consent, in
	// bytes: below, a useless transfer costs less than the wait.
	expectAbove = 1 << 20
)

// send sends r until the server gives an answer that is a success, which is returned,
// or that trying again cannot change. The caller closes the answer's body.
func (b *Bucket) send(ctx context.Context, r request) (*http.Response, error) {
	var resp *http.Response
	err := b.o.Retry.Do(ctx, func() (err error) {
		resp, err = b.try(ctx, r)
		return err
	})
	if err != nil {
		return nil, b.explain(ctx, r, err)
	}
	return resp, nil
}

// try sends r, and again at once where the answer tells how it would be right.
func (b *Bucket) try(ctx context.Context, r request) (*http.Response, error) {
	for learned := 0; ; learned++ {
		resp, err := b.once(ctx, r)
		var f *fault
		if learned == 3 || !errors.As(err, &f) || !b.learn(f) {
			return resp, err
		}
	}
}

func (b *Bucket) once(ctx context.Context, r request) (*http.Response, error) {
	region, skew := b.known()
	req, err := http.NewRequestWithContext(ctx, r.method, b.place.at(region, r.key, r.query).String(), nil)
	if err != nil {
		return nil, retry.Final(err)
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	if r.body != nil {
		warehousehttp.SetBody(req, r.body)
		if req.ContentLength > expectAbove {
			req.Header.Set("Expect", "100-continue")
		}
	}
	if err := b.sign(ctx, req, r.sum, region, skew); err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "kiln")
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, warehousehttp.WithoutURL(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	f := readFault(resp)
	f.region = region
	return nil, retry.Answer(resp, f)
}

// sign signs req as whoever the credentials belong to, or not at all where there are none.
func (b *Bucket) sign(ctx context.Context, req *http.Request, sum, region string, skew time.Duration) error {
	creds, err := b.creds.get(ctx)
	if err != nil || creds.AccessKeyID == "" {
		return err
	}
	if sum == "" {
		sum = noSum
	}
	req.Header.Set("X-Amz-Content-Sha256", sum)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // S3's own rule
	err = signer.SignHTTP(ctx, aws.Credentials{AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretKey, SessionToken: creds.Token},
		req, sum, "s3", region, time.Now().Add(skew))
	return retry.Final(err)
}

func (b *Bucket) known() (region string, skew time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return cmp.Or(b.region, b.place.region, defaultRegion), b.skew
}

// learn keeps what an answer says of how to ask, and reports whether it says something
// new.
func (b *Bucket) learn(f *fault) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case f.Region != "" && f.Region != f.region:
		b.region = f.Region
		return true
	case f.Code == "RequestTimeTooSkewed" && b.skew == 0 && f.skew.Abs() > time.Minute:
		b.skew = f.skew
		return true
	case f.Code == "ExpiredToken" || f.Code == "ExpiredTokenException":
		return b.creds.renew()
	}
	return false
}

// checkRedirect follows a redirect of what is being read, without credentials: they are
// for the host that they were made for, and a signature is of no use to another.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case next.Method != http.MethodGet && next.Method != http.MethodHead || next.Response.Header.Get("X-Amz-Bucket-Region") != "":
		return http.ErrUseLastResponse
	case len(via) > maxRedirects:
		return retry.Final(fmt.Errorf("redirected more than %d times", maxRedirects))
	case next.URL.Scheme != "https" && via[0].URL.Scheme != next.URL.Scheme:
		return retry.Final(fmt.Errorf("redirected from %s to %s://%s", via[0].URL.Scheme, next.URL.Scheme, next.URL.Host))
	}
	for key := range next.Header {
		if key != "Range" && key != "If-Match" && key != "User-Agent" {
			next.Header.Del(key)
		}
	}
	return nil
}
