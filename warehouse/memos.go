package warehouse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// Memos keeps memos by step key, one file each. Its methods are safe for concurrent
// use, also by several processes.
type Memos struct {
	dir    string
	salt   string
	staged atomic.Uint64
}

// OpenMemos opens the memos kept in dir, creating it if need be.
func OpenMemos(dir string) (*Memos, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("open memos: %w", err)
	}
	return &Memos{dir: dir, salt: salt()}, nil
}

// ReadMemos returns the memos kept in dir, for reading and removing. If there is no such
// directory, there are none.
func ReadMemos(dir string) *Memos { return &Memos{dir: dir, salt: salt()} }

// Get returns the memo of a step key. The error matches ErrMissing when there is
// none, or what is there cannot be read as one. That its wares are there is for
// the caller to check.
func (m *Memos) Get(key StepKey) (*Memo, error) {
	path, err := m.path(key)
	if err != nil {
		return nil, err
	}
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingError{What: "memo " + string(key)}
	}
	if noFile(err) {
		return nil, &MissingError{"memo " + string(key), fmt.Errorf("it is damaged: %w", err)}
	}
	if err != nil {
		return nil, fmt.Errorf("read memo %s: %w", key, err)
	}
	memo := new(Memo)
	if err := json.Unmarshal(data, memo); err != nil {
		return nil, &MissingError{"memo " + string(key), fmt.Errorf("it is damaged: %w", err)}
	}
	if memo.Key != key {
		return nil, &MissingError{"memo " + string(key), fmt.Errorf("it is damaged: it names step key %q", memo.Key)}
	}
	return memo, nil
}

// Put keeps a memo, replacing one of the same key. The caller has made the wares it
// names durable before: see Local.Sync.
func (m *Memos) Put(memo Memo) error {
	path, err := m.path(memo.Key)
	if err != nil {
		return err
	}
	data, err := json.Marshal(memo)
	if err == nil {
		tmp := m.dir + "/.tmp-" + m.salt + "-" + strconv.FormatUint(m.staged.Add(1), 10)
		data = append(data, '\n')
		err = writeAside(tmp, path, data)
		if err != nil && isDir(path) { // which nothing is renamed over
			if err = RemoveTree(path); err == nil {
				err = writeAside(tmp, path, data)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("write memo %s: %w", memo.Key, err)
	}
	return nil
}

func (m *Memos) path(key StepKey) (string, error) {
	if err := key.Check(); err != nil {
		return "", err
	}
	return m.dir + "/" + string(key) + ".json", nil
}
