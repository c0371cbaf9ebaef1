// Package seal signs memos for other machines and opens what they have signed. Whom to
// believe is for the caller to say; where sealed memos are kept is a Store's business.
package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/warehouse"
)

// ErrUntrusted says that a sealed memo is not to be believed. The error that matches
// it says why.
var ErrUntrusted = errors.New("not trusted")

const (
	publicPrefix = "ed25519:"
	secretPrefix = "kiln-secret-key:ed25519:"
	// context keeps a signature from counting for anything but a memo.
	context = "kiln memo 1\n"
	// maxSealed bounds what Open reads: a memo of 10,000 outputs has a megabyte.
	maxSealed = 16 << 20
)

// A Key is a public key, comparable.
type Key struct{ bytes [ed25519.PublicKeySize]byte }

// ParseKey reads "ed25519:" and 32 bytes in unpadded base64.
func ParseKey(s string) (Key, error) {
	var k Key
	text, ok := strings.CutPrefix(s, publicPrefix)
	if strings.HasPrefix(s, secretPrefix) {
		return k, errors.New("this is a secret key, which is nobody else's business: give the public one, which kiln key show prints")
	}
	if !ok {
		return k, fmt.Errorf("key %q: want %s and 43 letters", s, publicPrefix)
	}
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(raw) != len(k.bytes) {
		return k, fmt.Errorf("key %q: want %s and 43 letters", s, publicPrefix)
	}
	copy(k.bytes[:], raw)
	return k, nil
}

// String returns what ParseKey reads.
func (k Key) String() string { return publicPrefix + base64.RawStdEncoding.EncodeToString(k.bytes[:]) }

// A Secret is a secret key. It is never printed: String gives the public one.
type Secret struct {
	// private is worked out when it is first needed, since that takes longer than many a
	// run that finds all it needs at hand.
	private func() ed25519.PrivateKey
}

func fromSeed(seed []byte) *Secret {
	return &Secret{sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed) })}
}

// New makes a secret key.
func New() (*Secret, error) {
	seed := make([]byte, ed25519.SeedSize)
	_, err := rand.Read(seed)
	return fromSeed(seed), err
}

// Public returns the key that others trust.
func (s *Secret) Public() Key {
	var k Key
	copy(k.bytes[:], s.private().Public().(ed25519.PublicKey))
	return k
}

// String returns the public key.
func (s *Secret) String() string { return s.Public().String() }

// ReadSecret reads a secret key from a file that nobody else can read.
func ReadSecret(path string) (*Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read signing key: %s can be read by others (mode %04o): chmod 600 it, or make another", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(string(data)), secretPrefix)
	seed, err := base64.RawStdEncoding.DecodeString(text)
	if !ok || err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("read signing key: %s holds no secret key of kiln's", path)
	}
	return fromSeed(seed), nil
}

// Write writes the key to a file that is not there yet, for its owner alone.
func (s *Secret) Write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write signing key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write signing key: %w", err)
	}
	_, err = f.WriteString(secretPrefix + base64.RawStdEncoding.EncodeToString(s.private().Seed()) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write signing key: %w", err), os.Remove(path))
	}
	return nil
}

// envelope is a sealed memo as it travels: docs/formats.md specifies it.
type envelope struct {
	Memo      string `json:"memo"` // the memo's JSON, as it was signed
	Key       string `json:"key"`
	Signature []byte `json:"signature"`
}

// Seal signs a memo. What only concerns this machine is left out.
func (s *Secret) Seal(memo warehouse.Memo) ([]byte, error) {
	memo.Origin = ""
	data, err := json.Marshal(memo)
	if err != nil {
		return nil, fmt.Errorf("seal memo %s: %w", memo.Key, err)
	}
	return json.Marshal(envelope{string(data), s.String(), ed25519.Sign(s.private(), append([]byte(context), data...))})
}

// Peek reads a sealed memo without asking who signed it, for stores that need to know
// what it names. Nobody may act on it.
func Peek(sealed []byte) (*warehouse.Memo, error) {
	memo, _, err := read(sealed)
	return memo, err
}

// Open reads the memo of a step key. The error matches ErrUntrusted if it is not what
// a key that is trusted has signed for that step key.
func Open(sealed []byte, key warehouse.StepKey, trusted func(Key) bool) (*warehouse.Memo, error) {
	memo, err := OpenAny(sealed, trusted)
	if err == nil && memo.Key != key {
		return nil, untrusted("it is the memo of another step key, %s", memo.Key)
	}
	return memo, err
}

// OpenAny is Open for whatever step key the memo names.
func OpenAny(sealed []byte, trusted func(Key) bool) (*warehouse.Memo, error) {
	memo, e, err := read(sealed)
	if err != nil {
		return nil, untrusted("%v", err)
	}
	if e.Key == "" || len(e.Signature) == 0 {
		return nil, untrusted("nobody has signed it")
	}
	by, err := ParseKey(e.Key)
	if err != nil {
		return nil, untrusted("%v", err)
	}
	if !trusted(by) {
		return nil, untrusted("it was signed by %s, whose memos are not trusted here (kiln key trust changes that)", by)
	}
	if !ed25519.Verify(by.bytes[:], append([]byte(context), e.Memo...), e.Signature) {
		return nil, untrusted("its signature by %s is wrong", by)
	}
	return memo, nil
}

func untrusted(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUntrusted, fmt.Sprintf(format, args...))
}

func read(sealed []byte) (*warehouse.Memo, envelope, error) {
	var e envelope
	if len(sealed) > maxSealed {
		return nil, e, fmt.Errorf("it has %d bytes, more than a memo can have", len(sealed))
	}
	if err := json.Unmarshal(sealed, &e); err != nil {
		return nil, e, fmt.Errorf("it is no sealed memo: %w", err)
	}
	memo := new(warehouse.Memo)
	if err := json.Unmarshal([]byte(e.Memo), memo); err != nil {
		return nil, e, fmt.Errorf("it holds no memo: %w", err)
	}
	memo.Origin = ""
	return memo, e, nil
}
