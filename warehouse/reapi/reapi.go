// Package reapi keeps wares and memos in a cache of the Remote Execution API, version
// 2: `kiln serve`, bazel-remote, and what else Bazel can use as its remote cache. A ware
// travels file by file, and only files that the other side lacks travel at all. What is
// kept under which digest is specified in docs/formats.md, "Wares and memos over REAPI".
package reapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"golang.org/x/sync/errgroup"
)

// Options says how a server is reached. The zero value has no credentials.
type Options struct {
	Token              string // sent as a bearer token
	Username, Password string // basic authentication
	CAFile             string // PEM; whom to believe instead of the system's authorities
	CertFile, KeyFile  string // PEM; who this client is
	Insecure           bool   // plain connections to other machines, and certificates of anybody
	Compress           Compress
	Retry              retry.Policy
	Stall              time.Duration // how long a transfer may stand still; 0: a minute
	Version            string        // of kiln, for the server's log
}

// Compress says whether contents are compressed on their way.
type Compress int

// When contents are compressed, if the server can do that at all.
const (
	CompressFar    Compress = iota // unless the server is on this machine
	CompressAlways                 // wherever it makes them smaller
	CompressNever
)

const (
	asking      = 16             // calls at a time that only ask
	callTimeout = time.Minute    // of a call that moves little
	maxReceive  = 8 << 20        // bytes of a message: a batch of 4 MiB, and what is said of each
	maxDigests  = 20_000         // in one call: 1.5 MB
	maxTree     = 1 << 30        // bytes of a Tree message, which is held in memory
	sealedMax   = 16 << 20       // bytes of a memo
	sealedRaw   = 1<<20 + 64<<10 // of one that is part of its ActionResult
	wareName    = "ware"         // of the output that a ware is, in its ActionResult
)

// A store is a place at a server. It connects when it is first asked for something.
type store struct {
	place place
	o     Options
	conn  *grpc.Conn

	mu      sync.Mutex
	reached bool // the server has answered once
	able    *abilities
	trees   map[warehouse.WareID]tree // that were found there, or put
	indexes map[string]*pack.Index    // by the directory of the local warehouse
}

// Open returns a Store at a URL:
//
//	reapi://HOST[:PORT][/INSTANCE]    TLS; plaintext with this machine, unless o has certificates
//	grpcs://HOST[:PORT][/INSTANCE]    TLS
//	grpc://HOST:PORT[/INSTANCE]       plaintext, with this machine unless o.Insecure
//
// It connects to nobody yet.
func Open(rawURL string, o Options) (warehouse.Store, error) {
	p, err := parse(rawURL, o)
	if err != nil {
		return nil, err
	}
	s := &store{place: p, o: o, trees: map[warehouse.WareID]tree{}, indexes: map[string]*pack.Index{}}
	c := grpc.Options{
		Header: header(o), UserAgent: "kiln/" + o.Version, MaxMessage: maxReceive, Stall: o.Stall,
	}
	if p.tls {
		if c.TLS, err = tlsConfig(o); err != nil {
			return nil, err
		}
	}
	s.conn = grpc.NewConn(p.address, c)
	return s, nil
}

// String implements warehouse.Store.
func (s *store) String() string { return s.place.String() }

// Close implements warehouse.Store.
func (s *store) Close() error { return s.conn.Close() }

// Has asks for the action results of ids. A server that drops those of which it has lost
// something, as bazel-remote and kiln's own do, says by that whether the ware is
// complete. A tree without one, because something else than kiln has put it, counts as
// there if each of its messages and files is.
func (s *store) Has(ctx context.Context, ids []warehouse.WareID) ([]bool, error) {
	has := make([]bool, len(ids))
	g, asked := errgroup.WithContext(ctx)
	g.SetLimit(asking)
	var mu sync.Mutex
	roots := map[remote.Digest][]int{}
	for i, id := range ids {
		if check(id) != nil {
			continue
		}
		g.Go(func() error {
			_, err := s.tree(asked, id)
			has[i] = err == nil
			if !errors.Is(err, warehouse.ErrMissing) {
				return err
			}
			if root, err := rootOf(id); err == nil {
				mu.Lock()
				defer mu.Unlock()
				roots[root] = append(roots[root], i)
			}
			return nil
		})
	}
	err := g.Wait()
	if err == nil {
		err = s.hasForeign(ctx, roots, has)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	return has, nil
}

// hasForeign looks for trees that were not put by kiln.
func (s *store) hasForeign(ctx context.Context, roots map[remote.Digest][]int, has []bool) error {
	wanted := make([]remote.Digest, 0, len(roots))
	for root := range roots {
		wanted = append(wanted, root)
	}
	missing, err := s.findMissing(ctx, wanted)
	if err != nil {
		return err
	}
	for root, of := range roots {
		if missing[root] {
			continue
		}
		whole, err := s.complete(ctx, root)
		if err != nil {
			return err
		}
		for _, i := range of {
			has[i] = whole
		}
	}
	return nil
}

// complete reports whether all of a tree is there.
func (s *store) complete(ctx context.Context, root remote.Digest) (bool, error) {
	list, err := s.walk(ctx, treeID(root), nil)
	if errors.Is(err, warehouse.ErrMissing) || errors.Is(err, warehouse.ErrMismatch) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	files, err := contents(list)
	if err != nil {
		return false, err
	}
	missing, err := s.findMissing(ctx, files)
	return len(missing) == 0, err
}

// check returns an error if id can be no ware here.
func check(id warehouse.WareID) error {
	if parsed, err := warehouse.ParseWareID(id.String()); err != nil || parsed != id {
		return fmt.Errorf("ware id %q: not a name for a ware", id)
	}
	switch id.Packtype {
	case pack.Tree:
		_, err := pack.RootDigest(id)
		return err
	case pack.Tar, pack.Zip:
		return nil
	}
	return &warehouse.MissingError{What: "ware " + id.String(), Reason: errors.New("REAPI caches keep wares of packtype tree, tar or zip")}
}

func rootOf(id warehouse.WareID) (remote.Digest, error) {
	d, err := pack.RootDigest(id)
	return digest(d), err
}

func digest(d pack.Digest) remote.Digest { return remote.Digest{Hash: d.SHA256, Size: d.Size} }

func treeID(root remote.Digest) warehouse.WareID {
	return warehouse.WareID{Packtype: pack.Tree, Hash: root.String()}
}

// contents returns the digests of the files of a listing, each once, without the
// empty one, which every server has.
func contents(list *pack.Listing) ([]remote.Digest, error) {
	seen := map[string]bool{}
	var all []remote.Digest
	for _, msg := range list.Messages() {
		files, _, err := pack.DirectoryRefs(msg)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if f.Size > 0 && !seen[f.SHA256] {
				seen[f.SHA256] = true
				all = append(all, digest(f))
			}
		}
	}
	return all, nil
}
