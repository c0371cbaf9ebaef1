package retry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errPasses = errors.New("may pass")

func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			fails []error
			want  error
			tries int
			least time.Duration
		}{
			"at once":         {nil, nil, 1, 0},
			"third time":      {[]error{errPasses, errPasses}, nil, 3, 750 * time.Millisecond},
			"never":           {[]error{errPasses, errPasses, errPasses, errPasses, errPasses}, errPasses, 5, 3750 * time.Millisecond},
			"final":           {[]error{errPasses, Final(io.EOF)}, io.EOF, 2, 250 * time.Millisecond},
			"not believed":    {[]error{&tls.CertificateVerificationError{Err: io.EOF}}, io.EOF, 1, 0},
			"silent":          {[]error{silentError{errPasses}, silentError{errPasses}}, silentError{errPasses}, 2, 250 * time.Millisecond},
			"the server says": {[]error{afterError{errPasses, 7 * time.Second}}, nil, 2, 7 * time.Second},
			"for too long":    {[]error{afterError{errPasses, time.Hour}}, nil, 2, 20 * time.Second},
		} {
			start, tries := time.Now(), 0
			err := Policy{}.Do(t.Context(), func() error {
				tries++
				if tries <= len(tt.fails) {
					return tt.fails[tries-1]
				}
				return nil
			})
			took := time.Since(start)
			if !errors.Is(err, tt.want) || tries != tt.tries || took < tt.least || took > tt.least*3/2 {
				t.Errorf("%s: %v after %d tries in %s", name, err, tries, took)
			}
		}
		start, often := time.Now(), Policy{Tries: 101, Max: time.Second}
		if err := often.Do(t.Context(), func() error { return errPasses }); err != errPasses || time.Since(start) > 100*time.Second {
			t.Errorf("a hundred pauses: %v after %s", err, time.Since(start))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		time.AfterFunc(time.Second, func() { cancel(why) })
		if err := (Policy{}).Do(ctx, func() error { return errPasses }); err != why {
			t.Errorf("cancelled in a pause: %v", err)
		}
	})
}

// TestHurried: what would be waited for long is not while another place can be asked.
func TestHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := Hurried(t.Context())
		for name, tt := range map[string]struct {
			err   error
			tries int
			later bool
		}{
			"passes":          {errPasses, 5, false},
			"asks for little": {After(errPasses, 5*time.Second), 5, false},
			"asks for much":   {After(errPasses, 6*time.Second), 1, true},
			"silent":          {Silent(errPasses), 2, true},
		} {
			tries := 0
			err := Policy{}.Do(ctx, func() error { tries++; return tt.err })
			if !errors.Is(err, errPasses) || tries != tt.tries || Later(err) != tt.later {
				t.Errorf("%s: %v after %d tries, later: %v", name, err, tries, Later(err))
			}
		}
		for ctx, want := range map[context.Context]time.Duration{t.Context(): defaultStall, ctx: HurriedStall} {
			start := time.Now()
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost", nil)
			_, err := (&Guard{Next: dead{}}).RoundTrip(req)
			if took := time.Since(start); !Later(err) || took != want {
				t.Errorf("%v after %s, want %s", err, took, want)
			}
		}
	})
}

// dead answers nothing.
type dead struct{}

func (dead) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestAnswer(t *testing.T) {
	for status, final := range map[int]bool{400: true, 404: true, 429: false, 500: false, 501: true, 503: false} {
		if err := Answer(&http.Response{StatusCode: status}, errPasses); IsFinal(err) != final || !errors.Is(err, errPasses) {
			t.Errorf("%d: final %v", status, IsFinal(err))
		}
	}
}

func TestAskedFor(t *testing.T) {
	for _, c := range []struct {
		after, date string
		want        time.Duration
	}{
		{"7", "", 7 * time.Second}, {"", "", 0}, {"soon", "", 0}, {"99999999", "", time.Hour},
		{"Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:30 GMT", 7 * time.Second},
	} {
		if got := askedFor(http.Header{"Retry-After": {c.after}, "Date": {c.date}}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// memory is a network of one server, without delays of its own.
type memory struct{ dialled chan net.Conn }

func (m memory) Accept() (net.Conn, error) {
	conn, ok := <-m.dialled
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (m memory) Close() error { close(m.dialled); return nil }

func (m memory) Addr() net.Addr { return &net.UnixAddr{} }

func (m memory) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	m.dialled <- server
	return client, nil
}

// TestGuard has servers that stop moving at each point of a request.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/silent":
				io.Copy(io.Discard, r.Body)
				<-over
			case "/deaf":
				<-over
			case "/stops":
				w.Header().Set("Content-Length", "10")
				io.WriteString(w, "12345")
				w.(http.Flusher).Flush()
				<-over
			default:
				io.Copy(io.Discard, r.Body)
				io.WriteString(w, "well")
			}
		})}
		network := memory{make(chan net.Conn)}
		go server.Serve(network)
		defer time.Sleep(time.Minute) // as long as a server may wait at the end of a connection
		defer server.Close()
		defer close(over)
		transport := &http.Transport{DialContext: network.dial}
		defer transport.CloseIdleConnections()
		for path, tt := range map[string]struct {
			want  string
			after time.Duration
		}{
			"/silent": {"no answer for 3s", 3 * time.Second}, "/deaf": {"nothing could be sent for 1s", time.Second},
			"/stops": {"nothing came for 1s", time.Second}, "/": {"", 0},
		} {
			client, size := &http.Client{Transport: &Guard{Next: transport, Stall: time.Second, Think: 3 * time.Second}}, 10
			if tt.want == "" {
				client = &http.Client{Transport: &Guard{Next: transport}}
			}
			if path == "/deaf" {
				size = 64 << 20 // more than what a connection holds by itself
			}
			begun := time.Now()
			resp, err := client.Post("http://server.test"+path, "", strings.NewReader(strings.Repeat("x", size)))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) || time.Since(begun) != tt.after {
				t.Errorf("%s: %v after %s", path, err, time.Since(begun))
			}
		}
	})
}
