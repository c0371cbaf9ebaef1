package warehouse

import (
	"fmt"
	"strings"
)

// WareID names a ware: the packtype that says how its fileset is hashed, and
// the hash. It is comparable; the zero value names nothing.
type WareID struct {
	Packtype string // "tree", "tar", …
	Hash     string // as the packtype writes it; never contains ':' or '/'
}

// ParseWareID reads "packtype:hash". It checks the form, not that the hash is one
// the packtype could have made.
func ParseWareID(s string) (WareID, error) {
	packtype, hash, ok := strings.Cut(s, ":")
	if !ok || packtype == "" || hash == "" {
		return WareID{}, fmt.Errorf("ware id %q: want packtype:hash", s)
	}
	for _, part := range []string{packtype, hash} {
		if i := strings.IndexFunc(part, notIDRune); i >= 0 {
			return WareID{}, fmt.Errorf("ware id %q: unexpected %q", s, part[i:i+1])
		}
	}
	return WareID{Packtype: packtype, Hash: hash}, nil
}

func notIDRune(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
}

// String returns "packtype:hash", or "" for the zero id.
func (id WareID) String() string {
	if id.IsZero() {
		return ""
	}
	return id.Packtype + ":" + id.Hash
}

// IsZero reports whether id names nothing.
func (id WareID) IsZero() bool { return id == WareID{} }

// MarshalText and UnmarshalText make a WareID a JSON string and a JSON object key.
func (id WareID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText accepts what ParseWareID accepts, and "" for the zero id.
func (id *WareID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = WareID{}
		return nil
	}
	parsed, err := ParseWareID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
