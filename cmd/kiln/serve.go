package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/serve"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
	"github.com/spf13/cobra"
)

const serveHelp = `serve offers a warehouse to a team, until it is interrupted: over the Remote
Execution API (gRPC) and over HTTP, all on one port. To kiln it is grpc://HOST:PORT,
with TLS reapi://HOST:PORT, where wares travel file by file, or ca+http://HOST:PORT, where
they travel packed; Bazel takes it as --remote_cache. When it listens it prints the
address on stdout; what happens is told on stderr.

It offers the wares of this machine's warehouse, as they come and go, and its memos,
signed with this machine's key (kiln key), unless --no-local is given. What clients hand
in is kept beside them, in a directory that is never larger than --max-size: what was
used longest ago goes first. Nobody need believe the server: clients verify every byte,
and memos are signed by who made them.

It listens on this machine alone unless --listen says otherwise. For others it wants
TLS, and tokens or client certificates to know them by. A file of tokens has lines
"NAME TOKEN ro" or "NAME TOKEN rw" and can be read by nobody else; a token is sent as
Authorization: Bearer TOKEN, or as a password. Signals: HUP reads certificates and
tokens anew; TERM ends it when the transfers under way have ended, 30 seconds at most.

docs/serve.md has more: systemd, Bazel, metrics.`

// serveFlags are those of kiln serve.
type serveFlags struct {
	serve.Options
	listen   string
	maxSize  sizeValue
	insecure bool
	noLocal  bool
}

func newServeCmd(a *app) *cobra.Command {
	f := serveFlags{maxSize: 10 << 30}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Offer a warehouse to a team, over REAPI and HTTP",
		Long:  serveHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "localhost:9092", "HOST:PORT, or :PORT for all addresses of this machine")
	flags.StringVar(&f.Dir, "dir", "", "where what clients hand in is kept (default serve below kiln's data directory)")
	flags.Var(&f.maxSize, "max-size", "how much that may be on disk")
	flags.BoolVar(&f.noLocal, "no-local", false, "do not offer the wares and memos of this machine")
	flags.BoolVar(&f.ReadOnly, "read-only", false, "take nothing, whoever asks")
	flags.StringVar(&f.Tokens, "token-file", "", "let in who has a token that this file lists")
	flags.StringVar(&f.Cert, "tls-cert", "", "certificate of the server, PEM")
	flags.StringVar(&f.Key, "tls-key", "", "its private key, PEM")
	flags.StringVar(&f.ClientCA, "tls-client-ca", "", "let in who has a certificate of one of these authorities, PEM")
	flags.BoolVar(&f.insecure, "insecure", false, "let other machines in without TLS, or without knowing them")
	flags.BoolVar(&f.LogRequests, "verbose", false, "tell of each request")
	return cmd
}

// check refuses what would not do what the person wants.
func (f *serveFlags) check() error {
	host, _, err := net.SplitHostPort(f.listen)
	switch {
	case err != nil:
		return fmt.Errorf("--listen %s: want HOST:PORT, or :PORT", f.listen)
	case (f.Cert == "") != (f.Key == ""):
		return errors.New("--tls-cert and --tls-key are given together")
	case f.ClientCA != "" && f.Cert == "":
		return errors.New("--tls-client-ca wants --tls-cert and --tls-key: clients have certificates only where the server has one")
	case f.maxSize < 1<<20:
		return fmt.Errorf("--max-size %s: want 1MiB at least", f.maxSize.String())
	case loopback.Is(host) || f.insecure:
		return nil
	case f.Cert == "":
		return withHint(fmt.Errorf("--listen %s: other machines could read and change what is exchanged", f.listen),
			"Give --tls-cert and --tls-key, and --token-file or --tls-client-ca; or --insecure, in a network where nobody is to be kept out.")
	case f.Tokens == "" && f.ClientCA == "":
		return withHint(fmt.Errorf("--listen %s: anybody could hand something in", f.listen),
			"Give --token-file or --tls-client-ca to know who it is; or --insecure, in a network where nobody is to be kept out.")
	}
	return nil
}

// serve runs the server until ctx is done.
func (a *app) serve(ctx context.Context, f *serveFlags) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(100) // unlike other verbs, this one stays
	}
	err := f.check()
	if err == nil && f.Dir == "" {
		f.Dir, err = dataDir("serve")
	}
	if err != nil {
		return err
	}
	closeLocal, err := a.offerLocal(f)
	if err != nil {
		return err
	}
	defer closeLocal()
	f.MaxBytes, f.Version = int64(f.maxSize), version
	f.Log = func(line string) { fmt.Fprintln(a.stderr, "kiln:", harmlessName(line)) }
	s, err := serve.New(f.Options)
	if errors.Is(err, keep.ErrLocked) {
		return withHint(err, "Stop the other server, or give this one another --dir.")
	}
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return errors.Join(a.serveOn(ctx, s, l), s.Close())
}

// offerLocal opens what this machine has. It may be read-only: nothing of it is changed.
func (a *app) offerLocal(f *serveFlags) (closeIt func(), err error) {
	if f.noLocal {
		return func() {}, nil
	}
	base, err := homePath("KILN_DATA_HOME", "XDG_DATA_HOME", ".local/share")
	if err != nil {
		return nil, err
	}
	if f.Local, err = warehouse.OpenReader(filepath.Join(base, "warehouse")); err != nil {
		return nil, err
	}
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	if _, f.Secret, err = keys(c); err != nil {
		return nil, err
	}
	if f.Secret == nil {
		fmt.Fprintln(a.stderr, "kiln: memos of this machine are not offered: there is no key to sign them with (kiln key new makes one)")
	} else if f.Memos, err = warehouse.OpenMemos(filepath.Join(base, "memo")); err != nil {
		return nil, err
	}
	return func() { f.Local.Close() }, nil
}

// shutdownTime is how long transfers under way may take once the server is to end.
const shutdownTime = 30 * time.Second

func (a *app) serveOn(ctx context.Context, s *serve.Server, l net.Listener) error {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	fmt.Fprintln(a.stdout, l.Addr())
	for {
		select {
		case err := <-done:
			return err
		case <-reload:
			if err := s.Reload(); err != nil {
				fmt.Fprintf(a.stderr, "kiln: the old certificates and tokens stay: %v\n", err)
			} else {
				fmt.Fprintln(a.stderr, "kiln: read certificates and tokens anew")
			}
		case <-ctx.Done():
			fmt.Fprintln(a.stderr, "kiln: ends when the transfers under way have ended")
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
			defer cancel()
			if err := s.Shutdown(limited); err != nil {
				fmt.Fprintln(a.stderr, "kiln: gave up on transfers under way")
			}
			return <-done
		}
	}
}
