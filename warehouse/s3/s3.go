// Package s3 keeps packed wares and memos in a bucket of S3, or of a server that speaks
// its protocol. It knows how to move objects; what they hold is package packed's.
//
// The protocol is spoken directly, signed by the signer of AWS's own SDK: of the four
// requests that kiln makes none is worth the start-up of a whole SDK, which a run that
// has no such warehouse would pay too.
package s3

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// Options says how a bucket is reached. The zero value uses what AWS's own tools use.
type Options struct {
	AccessKey string // with SecretKey, and SessionToken if there is one: in place of all others
	SecretKey string
	Token     string

	Profile string // of AWS's shared files; the URL's own counts before it

	// Transport is for requests; nil: one with the proxies of the environment.
	Transport http.RoundTripper
	Retry     retry.Policy

	// PartSize is how much of a large object is sent in one request, in bytes; 0: 16 MiB.
	// S3 wants at least 5 MiB.
	PartSize int64
	// Parallel is how many parts are sent side by side; 0: 4.
	Parallel int
}

const (
	defaultPart     = 16 << 20
	defaultParallel = 4
	atOnce          = 16          // idle connections that are kept: as many as package packed asks at once
	defaultRegion   = "us-east-1" // AWS's own
	maxParts        = 10_000      // of S3: "Amazon S3 multipart upload limits"
)

// A Bucket is a place in a bucket. It implements packed.Objects.
type Bucket struct {
	place  place
	o      Options
	client *http.Client
	creds  chain

	mu     sync.Mutex
	region string        // that the bucket is known to be in; "": what place and the environment say
	skew   time.Duration // of the server's clock before this one

	exists atomic.Bool // the bucket, as far as is known
}

var _ packed.Objects = (*Bucket)(nil)

// Open returns the place that a URL names, of one of the forms in docs/warehouses.md. It
// connects to nobody: a place that is not there is an error of its methods.
func Open(_ context.Context, rawURL string, o Options) (packed.Objects, error) {
	p, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if o.PartSize == 0 {
		o.PartSize = defaultPart
	}
	if o.Parallel == 0 {
		o.Parallel = defaultParallel
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true // bytes as they are
		t.MaxIdleConnsPerHost = atOnce
		o.Transport = t
	}
	if p.profile == "" {
		p.profile = o.Profile
	}
	b := &Bucket{place: p, o: o}
	b.client = &http.Client{Transport: &retry.Guard{Next: o.Transport}, CheckRedirect: checkRedirect}
	b.creds = chain{place: p, o: o, client: b.client}
	b.place = b.creds.complete(p)
	return b, nil
}

// String returns the URL.
func (b *Bucket) String() string { return b.place.String() }

// Close ends idle connections.
func (b *Bucket) Close() error {
	b.client.CloseIdleConnections()
	return nil
}

// key returns the key of an object in the bucket.
func (b *Bucket) key(name string) string {
	return strings.TrimPrefix(b.place.prefix+"/"+packed.Path(name), "/")
}
