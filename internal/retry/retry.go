// Package retry keeps on where networks fail for a while: it repeats what may pass,
// with pauses that grow, and ends requests in which nothing moves. What may pass is for
// its callers to say.
package retry

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// A Policy says how often something is tried, and how long the pauses are. The zero
// value is what most need.
type Policy struct {
	Tries int           // 0: 5
	First time.Duration // the first pause, doubled after each try; 0: 250 ms
	Max   time.Duration // the longest, however long a server asks to wait; 0: 20 s
	Pause func(context.Context, time.Duration) error
}

const (
	defaultTries = 5
	defaultFirst = 250 * time.Millisecond
	defaultMax   = 20 * time.Second
)

// Do calls f until it succeeds, fails with a Final error or over a certificate that is
// not believed, or has been tried often enough. It returns what f returned last, or why ctx ended while it waited.
func (p Policy) Do(ctx context.Context, f func() error) error {
	tries := p.Tries
	if tries == 0 {
		tries = defaultTries
	}
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == tries || IsFinal(err) || isRefused(err) || ctx.Err() != nil {
			return err
		}
		switch {
		case errors.As(err, new(silentError)):
			tries = min(tries, try+1) // each has taken as long as all others together
		case IsHurried(ctx) && Later(err):
			return err
		}
		if ended := p.wait(ctx, try, err); ended != nil {
			return ended
		}
	}
}

// wait pauses after a try. Pauses vary, so that clients that failed together do not
// come back together.
func (p Policy) wait(ctx context.Context, try int, err error) error {
	first, longest, pause := p.First, p.Max, p.Pause
	if first == 0 {
		first = defaultFirst
	}
	if longest == 0 {
		longest = defaultMax
	}
	if pause == nil {
		pause = sleep
	}
	d := first << min(try-1, 20) // days: more might be more than a Duration holds
	d += rand.N(d/2 + 1)
	var asked afterError
	if errors.As(err, &asked) {
		d = max(d, asked.after)
	}
	return pause(ctx, min(d, longest))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// Final marks err, if it is one, as what trying again cannot change.
func Final(err error) error {
	if err == nil {
		return nil
	}
	return finalError{err}
}

// IsFinal reports whether err has been marked by Final.
func IsFinal(err error) bool { return errors.As(err, new(finalError)) }

// isRefused reports whether the other side's certificate is not good enough: it will be
// the same one in a second.
func isRefused(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError))
}

type afterError struct {
	error
	after time.Duration
}

func (e afterError) Unwrap() error { return e.error }

// After marks err with how long to wait at least before trying again.
func After(err error, d time.Duration) error { return afterError{err, d} }

// As marks text, which says the same as err in other words, as err is marked.
func As(err, text error) error {
	var asked afterError
	switch {
	case IsFinal(err):
		return Final(text)
	case errors.As(err, &asked):
		return After(text, asked.after)
	}
	return text
}

// Answer marks err, which tells of resp, an answer that is no success: as final unless
// the status says that it may pass, and with how long the server asks to wait.
func Answer(resp *http.Response, err error) error {
	switch s := resp.StatusCode; {
	case s >= 500 && s != http.StatusNotImplemented && s != http.StatusInsufficientStorage:
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
	default:
		return Final(err)
	}
	if d := askedFor(resp.Header); d > 0 {
		return After(err, min(d, time.Hour))
	}
	return err
}

// askedFor reads Retry-After, seconds or a date, RFC 9110, section 10.2.3. A date is
// compared with the server's own clock where that is told.
func askedFor(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if s, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(s, 3600)) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return at.Sub(now)
}
