package serve

import (
	"fmt"
	"strings"
	"sync"
)

// A logger passes lines on, one at a time.
type logger struct {
	mu sync.Mutex
	f  func(string)
}

func (l *logger) printf(format string, args ...any) {
	if l.f == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f(fmt.Sprintf(format, args...))
}

// Write takes what net/http says, such as of a TLS handshake that failed.
func (l *logger) Write(p []byte) (int, error) {
	l.printf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}
