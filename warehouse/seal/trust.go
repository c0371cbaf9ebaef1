package seal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/internal/newfile"
)

// A Trusted is a key and what the person calls it.
type Trusted struct {
	Key  Key
	Name string // "" if it has none
}

// ReadTrusted reads a list of keys, one a line with a name behind it, as
// WriteTrusted writes it. A file that is not there is an empty list.
func ReadTrusted(path string) ([]Trusted, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read trusted keys: %w", err)
	}
	var list []Trusted
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text, name, _ := strings.Cut(line, " ")
		key, err := ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("read trusted keys: %s:%d: %w", path, n, err)
		}
		list = append(list, Trusted{key, strings.TrimSpace(name)})
	}
	return list, lines.Err()
}

// WriteTrusted replaces the list at path.
func WriteTrusted(path string, list []Trusted) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write trusted keys: %w", err)
	}
	err := newfile.Write(path, true, func(w io.Writer) error {
		for _, t := range list {
			if _, err := fmt.Fprintln(w, strings.TrimSpace(t.Key.String()+" "+t.Name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write trusted keys: %w", err)
	}
	return nil
}
