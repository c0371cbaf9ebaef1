package reapi_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// A fake is a cache in memory that believes whatever it is told, counts what it is
// asked, and fails on demand.
type fake struct {
	addr string
	caps remote.CacheCapabilities

	mu       sync.Mutex
	blobs    map[remote.Digest][]byte
	results  map[remote.Digest][]byte
	readOnly bool
	calls    map[string]int
	uploads  map[string][]byte // of interrupted streams

	// fail, if not nil, is asked before each call: an error ends it.
	fail func(method string, call int) error
	// piece, if not nil, is given each piece of a stream, and may change it or end it.
	piece func(method string, sent int64, data []byte) ([]byte, error)
	// mangle, if not nil, may change what a batch gives.
	mangle func(*remote.BlobRead)
	// strict makes it give no result that refers to what it lacks.
	strict  bool
	offsets []int64      // that were read from
	bytes   atomic.Int64 // that went through connections, either way
}

const fakePiece = 64 << 10

// hooks is what of a fake a test changes while calls are under way.
type hooks struct {
	piece  func(method string, sent int64, data []byte) ([]byte, error)
	mangle func(*remote.BlobRead)
}

func (f *fake) hooks() hooks {
	f.mu.Lock()
	defer f.mu.Unlock()
	return hooks{f.piece, f.mangle}
}

// count is how often a method has been called.
func (f *fake) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// get, set and drop are for tests that change what it has while calls are under way.
func (f *fake) get(d remote.Digest) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blobs[d]
}

func (f *fake) set(d remote.Digest, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[d] = data
}

func (f *fake) drop(d remote.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.blobs, d)
}

// hook changes them.
func (f *fake) hook(h hooks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.piece, f.mangle = h.piece, h.mangle
}

func newFake(t testing.TB) *fake {
	f := &fake{
		blobs: map[remote.Digest][]byte{}, results: map[remote.Digest][]byte{}, calls: map[string]int{}, uploads: map[string][]byte{},
		caps: remote.CacheCapabilities{
			Functions: []remote.DigestFunction{remote.SHA256}, ActionUpdates: &remote.ActionUpdates{Enabled: true},
			Compressors: []remote.Compressor{remote.Zstd}, BatchCompressors: []remote.Compressor{remote.Zstd},
		},
	}
	f.addr = serveHTTP(t, f.handler(), &f.bytes)
	return f
}

// serveHTTP serves a handler over plaintext HTTP/2 and returns its address.
func serveHTTP(t testing.TB, h http.Handler, count *atomic.Int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &p}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(counting{l, count}) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// counting counts the bytes of all connections.
type counting struct {
	net.Listener
	n *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return countingConn{conn, c.n}, err
}

type countingConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (c countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func (f *fake) handler() http.Handler {
	g := &grpc.Server{MaxMessage: 4 << 20} // as strict as any
	handle := func(method string, h grpc.Handler) {
		g.Handle(method, func(ctx context.Context, call *grpc.ServerCall) error {
			name := method[strings.LastIndexByte(method, '/')+1:]
			f.mu.Lock()
			f.calls[name]++
			n, fail := f.calls[name], f.fail
			f.mu.Unlock()
			if fail != nil {
				if err := fail(name, n); err != nil {
					return err
				}
			}
			return h(ctx, call)
		})
	}
	handle(remote.GetCapabilities, grpc.Unary(func(context.Context, *remote.GetCapabilitiesRequest) (*remote.ServerCapabilities, error) {
		return &remote.ServerCapabilities{Cache: &f.caps}, nil
	}))
	handle(remote.FindMissingBlobs, grpc.Unary(f.findMissing))
	handle(remote.BatchUpdateBlobs, grpc.Unary(f.batchUpdate))
	handle(remote.BatchReadBlobs, grpc.Unary(f.batchRead))
	handle(remote.GetActionResult, grpc.Unary(f.getResult))
	handle(remote.UpdateActionResult, grpc.Unary(f.setResult))
	handle(remote.Read, f.read)
	handle(remote.Write, f.write)
	handle(remote.QueryWriteStatus, grpc.Unary(f.queryWrite))
	return g
}

func (f *fake) blob(d remote.Digest) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[d]
	return b, ok || d.Size == 0
}

// mayWrite refuses what changes something. It holds the lock if it does not.
func (f *fake) mayWrite() error {
	f.mu.Lock()
	if f.readOnly {
		f.mu.Unlock()
		return grpc.Errorf(grpc.PermissionDenied, "no")
	}
	return nil
}

func (f *fake) findMissing(_ context.Context, r *remote.FindMissingBlobsRequest) (*remote.FindMissingBlobsResponse, error) {
	var resp remote.FindMissingBlobsResponse
	for _, d := range r.Digests {
		if _, ok := f.blob(d); !ok {
			resp.Missing = append(resp.Missing, d)
		}
	}
	return &resp, nil
}

func (f *fake) batchUpdate(_ context.Context, r *remote.BatchUpdateBlobsRequest) (*remote.BatchUpdateBlobsResponse, error) {
	if err := f.mayWrite(); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	var resp remote.BatchUpdateBlobsResponse
	for _, b := range r.Blobs {
		if b.Compressor == remote.Zstd {
			b.Data = plain(b.Data)
		}
		st := &remote.Status{}
		if remote.DigestOf(b.Data) != b.Digest {
			st.Code = int32(grpc.InvalidArgument)
		} else {
			f.blobs[b.Digest] = b.Data
		}
		resp.Blobs = append(resp.Blobs, remote.BlobUpdated{Digest: b.Digest, Status: st})
	}
	return &resp, nil
}

func (f *fake) batchRead(_ context.Context, r *remote.BatchReadBlobsRequest) (*remote.BatchReadBlobsResponse, error) {
	var resp remote.BatchReadBlobsResponse
	for _, d := range r.Digests {
		b, ok := f.blob(d)
		one := remote.BlobRead{Digest: d, Data: b}
		if !ok {
			one.Status = &remote.Status{Code: int32(grpc.NotFound)}
		} else if len(r.Acceptable) > 0 {
			one.Data, one.Compressor = zip(b), remote.Zstd
		}
		if mangle := f.hooks().mangle; mangle != nil {
			mangle(&one)
		}
		resp.Blobs = append(resp.Blobs, one)
	}
	return &resp, nil
}

func (f *fake) getResult(_ context.Context, r *remote.GetActionResultRequest) (*remote.Raw, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	result, ok := f.results[r.Action]
	if !ok || f.strict && !f.complete(result) {
		return nil, grpc.Errorf(grpc.NotFound, "no result")
	}
	return (*remote.Raw)(&result), nil
}

// complete reports whether all that a result refers to is there.
func (f *fake) complete(result []byte) bool {
	var r remote.ActionResult
	if grpc.Unmarshal(result, &r) != nil {
		return false
	}
	for _, d := range r.Directories {
		var tree remote.Tree
		if f.blobs[*d.Tree] == nil || grpc.Unmarshal(f.blobs[*d.Tree], &tree) != nil {
			return false
		}
		for _, msg := range append(tree.Children, tree.Root) {
			var dir remote.Directory
			if grpc.Unmarshal(msg, &dir) != nil {
				return false
			}
			for _, n := range dir.Files {
				if n.Digest.Size > 0 && f.blobs[*n.Digest] == nil {
					return false
				}
			}
		}
	}
	return true
}

func (f *fake) setResult(_ context.Context, r *remote.UpdateActionResultRequest) (*remote.Raw, error) {
	if err := f.mayWrite(); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	f.results[r.Action] = r.Result
	return (*remote.Raw)(&r.Result), nil
}

func (f *fake) read(_ context.Context, call *grpc.ServerCall) error {
	var r remote.ReadRequest
	if err := call.Receive(&r); err != nil {
		return err
	}
	name, err := remote.ParseResource(r.Resource)
	if err != nil {
		return err
	}
	b, ok := f.blob(name.Digest)
	if !ok {
		return grpc.Errorf(grpc.NotFound, "no content")
	}
	f.mu.Lock()
	f.offsets = append(f.offsets, r.Offset)
	f.mu.Unlock()
	b = b[min(r.Offset, int64(len(b))):]
	if name.Compressor == remote.Zstd {
		b = zip(b)
	}
	for sent := int64(0); len(b) > 0; {
		p := b[:min(len(b), fakePiece)]
		b = b[len(p):]
		if piece := f.hooks().piece; piece != nil {
			if p, err = piece("Read", sent, p); err != nil {
				if err == io.EOF {
					return nil
				}
				return err
			}
		}
		if err := call.Send(&remote.ReadResponse{Data: p}); err != nil {
			return err
		}
		sent += int64(len(p))
	}
	return nil
}

func (f *fake) write(_ context.Context, call *grpc.ServerCall) error {
	if err := f.mayWrite(); err != nil {
		return err
	}
	f.mu.Unlock()
	var data []byte
	var resource string
	for {
		var r remote.WriteRequest
		if err := call.Receive(&r); err != nil {
			return err
		}
		if resource == "" {
			resource = r.Resource
			f.mu.Lock()
			data = f.uploads[resource]
			f.mu.Unlock()
		}
		if r.Offset != int64(len(data)) {
			return grpc.Errorf(grpc.InvalidArgument, "offset %d, have %d bytes", r.Offset, len(data))
		}
		data = append(data, r.Data...)
		f.mu.Lock()
		f.uploads[resource] = data
		f.mu.Unlock()
		if piece := f.hooks().piece; piece != nil {
			if _, err := piece("Write", int64(len(data)), r.Data); err != nil {
				return err
			}
		}
		if r.Finish {
			break
		}
	}
	name, err := remote.ParseResource(resource)
	if err != nil {
		return err
	}
	sent := int64(len(data))
	if name.Compressor == remote.Zstd {
		data = plain(data)
	}
	if remote.DigestOf(data) != name.Digest {
		return grpc.Errorf(grpc.InvalidArgument, "that is something else")
	}
	f.mu.Lock()
	f.blobs[name.Digest] = data
	f.mu.Unlock()
	return call.Send(&remote.WriteResponse{Committed: sent})
}

func (f *fake) queryWrite(_ context.Context, r *remote.QueryWriteStatusRequest) (*remote.QueryWriteStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.uploads[r.Resource]
	if !ok {
		return nil, grpc.Errorf(grpc.NotFound, "no upload")
	}
	return &remote.QueryWriteStatusResponse{Committed: int64(len(data))}, nil
}

var (
	zipper, _   = zstd.NewWriter(nil)
	unzipper, _ = zstd.NewReader(nil)
)

func zip(b []byte) []byte { return zipper.EncodeAll(b, nil) }

func plain(b []byte) []byte {
	b, err := unzipper.DecodeAll(b, nil)
	if err != nil {
		return nil
	}
	return b
}
