package gitremote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
)

// A daemon speaks git's protocol over a connection of its own, git://. Nothing
// about it is secret or sure but what commits' hashes make sure.
type daemon struct {
	u    *url.URL
	o    *Options
	conn net.Conn
	stop func() bool
}

func (d *daemon) hello(ctx context.Context) (io.Reader, error) {
	if strings.ContainsRune(d.u.Path+d.u.Host, 0) {
		return nil, errors.New("the URL has a NUL in it")
	}
	port := d.u.Port()
	if port == "" {
		port = "9418"
	}
	dialer := net.Dialer{Timeout: d.o.Stall}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(d.u.Hostname(), port))
	if err != nil {
		return nil, d.broken(err)
	}
	d.conn, d.stop = conn, context.AfterFunc(ctx, func() { conn.Close() })
	text := fmt.Sprintf("%s %s\x00host=%s\x00\x00version=2\x00", service, d.u.Path, d.u.Host)
	return d.send(ctx, fmt.Appendf(nil, "%04x%s", len(text)+4, text))
}

func (d *daemon) send(_ context.Context, request []byte) (io.Reader, error) {
	d.conn.SetWriteDeadline(time.Now().Add(d.o.Stall))
	if _, err := d.conn.Write(request); err != nil {
		return nil, d.broken(err)
	}
	return d, nil
}

// Read reads from the connection, which is dead if nothing comes for too long.
func (d *daemon) Read(b []byte) (int, error) {
	d.conn.SetReadDeadline(time.Now().Add(d.o.Stall))
	n, err := d.conn.Read(b)
	if err != nil && err != io.EOF {
		err = d.broken(err)
	}
	return n, err
}

// broken is err, of the connection, as one that may pass.
func (d *daemon) broken(err error) error {
	if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
		err = retry.Silent(err)
	}
	return &TemporaryError{Err: err}
}

func (d *daemon) close() {
	if d.conn != nil {
		d.stop()
		d.conn.Close()
	}
}
