package serve

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"strings"
)

// A Role is what a client may do.
type Role byte

// The roles, each with what the one before may do.
const (
	Nobody Role = iota
	Reader
	Writer
)

// A token lets a client in. Of the secret only the hash is kept: so that looking for
// one takes the same time whatever it is, and no memory dump shows it.
type token struct {
	name string
	sum  [sha256.Size]byte
	role Role
}

// minToken is how short a token may be, in characters.
const minToken = 16

// readTokens reads a file of lines "NAME TOKEN ro" or "NAME TOKEN rw"; what begins
// with # is a comment. Nobody else may read the file.
func readTokens(path string) ([]token, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read tokens: %s can be read by others (mode %04o): chmod 600 it, and make new tokens", path, info.Mode().Perm())
	}
	var tokens []token
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		t, err := parseToken(line)
		if err != nil {
			return nil, fmt.Errorf("read tokens: %s:%d: %w", path, n, err)
		}
		tokens = append(tokens, t)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("read tokens: %s has none: nobody could get in", path)
	}
	return tokens, nil
}

// parseToken reads a line. Its error says nothing of what is in it.
func parseToken(line string) (token, error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return token{}, fmt.Errorf("%d words: want NAME TOKEN ro, or NAME TOKEN rw", len(fields))
	}
	role, ok := map[string]Role{"ro": Reader, "rw": Writer}[fields[2]]
	if !ok {
		return token{}, errors.New("the third word: want ro or rw")
	}
	if len(fields[1]) < minToken {
		return token{}, fmt.Errorf("the token is short: want %d characters or more, such as from: openssl rand -hex 24", minToken)
	}
	return token{fields[0], sha256.Sum256([]byte(fields[1])), role}, nil
}

// find returns the token that is secret. How long it takes does not depend on it.
func find(tokens []token, secret string) (token, bool) {
	sum := sha256.Sum256([]byte(secret))
	var found token
	for _, t := range tokens {
		if subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1 {
			found = t
		}
	}
	return found, found.role != Nobody
}
