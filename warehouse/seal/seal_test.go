package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

func newKey(t *testing.T) *Secret {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func memoOf(c string) warehouse.Memo {
	return warehouse.Memo{
		Key: warehouse.StepKey(strings.Repeat(c, 64)), Step: "step.a", Isolation: "container", Origin: "reapi://elsewhere",
		Outputs: map[string]warehouse.WareID{"out": {Packtype: "tree", Hash: strings.Repeat("b", 64) + "-3"}},
	}
}

func TestSeal(t *testing.T) {
	alice, mallory := newKey(t), newKey(t)
	memo := memoOf("a")
	sealed, err := alice.Seal(memo)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := mallory.Seal(memo)
	if err != nil {
		t.Fatal(err)
	}
	trusted := func(key Key) bool { return key == alice.Public() }
	got, err := Open(sealed, memo.Key, trusted)
	if err != nil || got.Outputs["out"] != memo.Outputs["out"] || got.Origin != "" {
		t.Fatalf("opened %+v, %v", got, err)
	}
	for _, tt := range []struct {
		name   string
		sealed []byte
		key    warehouse.StepKey
		want   string
	}{
		{"foreign", forged, memo.Key, "not trusted here"},
		{"signed by another than it says", bytes.Replace(forged, []byte(mallory.String()), []byte(alice.String()), 1), memo.Key, "is wrong"},
		{"changed", bytes.Replace(sealed, []byte("step.a"), []byte("step.b"), 1), memo.Key, "is wrong"},
		{"of another key", sealed, memoOf("c").Key, "another step key"},
		{"unsigned", []byte(`{"memo":"{}"}`), memo.Key, "nobody has signed it"},
		{"no envelope", []byte(`<html>`), memo.Key, "no sealed memo"},
		{"nothing", nil, memo.Key, "no sealed memo"},
		{"bad key", bytes.Replace(sealed, []byte("ed25519:"), []byte("rsa:"), 1), memo.Key, "43 letters"},
		{"huge", make([]byte, maxSealed+1), memo.Key, "more than a memo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(tt.sealed, tt.key, trusted)
			if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "key")
	s := newKey(t)
	if err := s.Write(path); err != nil {
		t.Fatal(err)
	}
	again, err := ReadSecret(path)
	if err != nil || again.Public() != s.Public() {
		t.Fatalf("read %v, %v", again, err)
	}
	if err := newKey(t).Write(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key was replaced: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	} else if _, err := ParseKey(strings.TrimSpace(string(text))); err == nil || strings.Contains(err.Error(), string(text[len(secretPrefix):])) {
		t.Errorf("a secret key given as a public one: %v", err)
	}
}

func TestTrusted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trusted_keys")
	want := []Trusted{{newKey(t).Public(), "alice at work"}, {newKey(t).Public(), ""}}
	if list, err := ReadTrusted(path); err != nil || len(list) > 0 {
		t.Fatalf("no file: %v, %v", list, err)
	}
	if err := WriteTrusted(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTrusted(path)
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Fatalf("got %v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("# mine\n\ned25519:xyz bob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTrusted(path); err == nil || !strings.Contains(err.Error(), "trusted_keys:3") {
		t.Errorf("a damaged line: %v", err)
	}
}
