package warehousetest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A Cut is a way to a server that breaks once, in the middle of what a client sends.
type Cut struct {
	Addr string       // where clients connect
	Sent atomic.Int64 // bytes that clients have got to the server
}

// NewCut makes a way to the server at addr. When a client has sent after bytes, its
// connection is closed, and no other. With half the server is not told: to it the client is
// only silent.
func NewCut(t testing.TB, addr string, after int64, half bool) *Cut {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &Cut{Addr: l.Addr().String()}
	var ways sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	var cut atomic.Bool
	way := func(client net.Conn) {
		server, err := net.Dial("tcp", addr)
		if err != nil {
			client.Close()
			return
		}
		mu.Lock()
		open = append(open, client, server)
		mu.Unlock()
		ways.Go(func() { _, _ = io.Copy(client, server); client.Close() })
		ways.Go(func() {
			for buf := make([]byte, 32<<10); ; {
				n, err := client.Read(buf)
				if n > 0 {
					_, err = server.Write(buf[:n])
				}
				broken := c.Sent.Add(int64(n)) >= after && cut.CompareAndSwap(false, true)
				if broken || err != nil {
					client.Close()
					if !broken || !half {
						server.Close()
					}
					return
				}
			}
		})
	}
	ways.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			way(client)
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		ways.Wait()
	})
	return c
}
