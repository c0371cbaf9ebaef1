// Package serve offers a warehouse to a team: over the Remote Execution API (gRPC: what
// a cache needs of version 2) and over HTTP, on one port. What clients hand in is kept by
// package keep; wares and memos of the local warehouse are served from where they lie.
// It prints nothing, and how it is configured is package main's business.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/singleflight"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// Options say what a server offers and to whom.
type Options struct {
	Dir      string // of what clients hand in; no other server may use it
	MaxBytes int64  // how much that may be on disk, at most
	ReadOnly bool   // nobody may hand anything in

	// Local is the warehouse of this machine, whose wares are offered, also where it can
	// only be read; nil: none are. Memos are those of this machine, offered sealed by
	// Secret; without either none are.
	Local  *warehouse.Local
	Memos  *warehouse.Memos
	Secret *seal.Secret

	// Tokens is a file of tokens, which ParseTokens reads; "": none are asked for.
	Tokens string
	// Cert and Key are files, PEM, of the server's certificate; "": no TLS.
	Cert, Key string
	// ClientCA is a file, PEM: clients must have a certificate that one of these
	// authorities has signed. "": they need none.
	ClientCA string

	// Log is told, in lines, what a person who runs the server wants to know. It is
	// called by one goroutine at a time. nil: nobody is.
	Log func(line string)
	// LogRequests makes it a line for each request too.
	LogRequests bool
	Version     string // of kiln

	stall time.Duration // of a test; 0: stallTimeout
}

// A Server serves. Its methods are safe for concurrent use.
type Server struct {
	o       Options
	log     logger
	store   *keep.Store
	access  atomic.Pointer[access]
	metrics *metrics
	uploads uploads
	local   *local // nil: nothing of this machine is offered
	life    context.Context
	end     context.CancelFunc
	mu      sync.Mutex         // of ending life while something begins
	doing   sync.WaitGroup     // what is under way: see begin
	packing singleflight.Group // by hash
	packers chan struct{}
	http    *http.Server
	loop    bool // it listens on this machine's own addresses alone
}

// Limits that keep one client from using up the server.
const (
	maxConnections = 1024
	maxStreams     = 256                    // at once, of a connection
	maxBatch       = 4 << 20                // bytes of content in a batch: clients' own limit is 4 MiB and a bit
	maxMessage     = maxBatch + maxBatch/16 // bytes of a client's message: a batch, and what is said of each content
	maxHeader      = 64 << 10               // bytes
	headerTimeout  = 10 * time.Second       // also of a TLS handshake
	idleTimeout    = 5 * time.Minute
	maxPackers     = 2           // wares that are packed at once
	stallTimeout   = time.Minute // how long a transfer may stand still
)

// New makes a server and opens what it keeps. The caller calls Close.
func New(o Options) (*Server, error) {
	if o.stall == 0 {
		o.stall = stallTimeout
	}
	s := &Server{o: o, metrics: newMetrics(), packers: make(chan struct{}, maxPackers)}
	s.log.f = o.Log
	if err := s.Reload(); err != nil {
		return nil, err
	}
	var err error
	if s.store, err = keep.Open(o.Dir, o.MaxBytes); err != nil {
		return nil, err
	}
	s.life, s.end = context.WithCancel(context.Background())
	if o.Local != nil {
		s.local = newLocal(o.Local, nil)
		if o.Secret != nil {
			s.local.memos = o.Memos
		}
		go s.look(s.life)
	}
	s.http = s.newHTTP()
	return s, nil
}

// look looks what is new in the local warehouse. For the first time that takes a while
// if it is large, and who asks meanwhile waits.
func (s *Server) look(ctx context.Context) {
	if s.local == nil {
		return
	}
	if err := s.local.refresh(ctx); err != nil && ctx.Err() == nil {
		s.log.printf("look at the local warehouse: %v", err)
	}
}

func (s *Server) newHTTP() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(s.o.Cert == "")
	h := &http.Server{
		Handler:           s.handler(),
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(&s.log, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerStream:     1 << 20,
			MaxReceiveBufferPerConnection: 16 << 20,
			SendPingTimeout:               stallTimeout,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              stallTimeout,
		},
	}
	if s.o.Cert != "" {
		h.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"h2", "http/1.1"},
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return s.access.Load().tls, nil
			},
		}
	}
	return h
}

// Serve serves clients that connect to l until Shutdown or Close is called, and then
// returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.loop = isLoopback(l.Addr())
	l = netutil.LimitListener(l, maxConnections)
	var err error
	if s.o.Cert != "" {
		err = s.http.ServeTLS(l, "", "")
	} else {
		err = s.http.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown takes no more requests and waits for those under way, until ctx is done.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// begin says that something is under way, until doing.Done is called, and reports whether
// it may be: the server has not been closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return false
	}
	s.doing.Add(1)
	return true
}

// Close ends everything at once. When it returns nothing is under way any more: the
// directory is somebody else's.
func (s *Server) Close() error {
	err := s.http.Close()
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.doing.Wait()
	s.uploads.drop()
	if s.local != nil {
		s.local.promises.end()
	}
	return errors.Join(err, s.store.Close())
}

// Reload reads certificates and tokens anew. After an error the old ones stay.
func (s *Server) Reload() error {
	a, err := readAccess(s.o)
	if err == nil {
		s.access.Store(a)
		if end := a.ends(); !end.IsZero() && time.Now().After(end) {
			s.log.printf("the server's certificate has expired on %s: clients will not believe it", end.UTC().Format(time.DateOnly))
		}
	}
	return err
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback() // a socket in the file system is even closer
}

// services are the methods of gRPC that this is.
func (s *Server) services() *grpc.Server {
	g := &grpc.Server{MaxMessage: maxMessage}
	s.handleCapabilities(g)
	s.handleContents(g)
	s.handleStreams(g)
	s.handleActions(g)
	return g
}
