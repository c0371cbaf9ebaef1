package reapi

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// TestHint: a proxy that is not there says nothing of what the server wants.
func TestHint(t *testing.T) {
	gone := errors.New("refused")
	for op, hinted := range map[string]bool{"dial": false, "proxyconnect": false, "read": true} {
		err := place{tls: true}.hint(&net.OpError{Op: op, Net: "tcp", Err: gone})
		if !errors.Is(err, gone) || strings.Contains(err.Error(), "certificate") != hinted {
			t.Errorf("%s: %v", op, err)
		}
	}
}
