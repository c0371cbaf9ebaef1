package warehouse

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Keys returns the step keys that have memos, in no order. It reads none: some may turn
// out to be damaged, or gone.
func (m *Memos) Keys() ([]StepKey, error) {
	dir, err := os.Open(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	keys := make([]StepKey, 0, len(names))
	for _, name := range names {
		if key, ok := strings.CutSuffix(name, ".json"); ok && StepKey(key).Check() == nil {
			keys = append(keys, StepKey(key))
		}
	}
	return keys, err
}

// Dir returns the absolute directory of the memos.
func (m *Memos) Dir() string { return m.dir }
