package warehouse

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// A MemoStat tells one version of a memo's file from another: a memo that is put
// again is a new file. It is comparable.
type MemoStat struct {
	Inode, Size  uint64
	Mtime, Ctime int64 // nanoseconds since 1970
}

// Stat looks at a memo without reading it. The error matches ErrMissing when there
// is none.
func (m *Memos) Stat(key StepKey) (MemoStat, error) {
	path, err := m.path(key)
	if err != nil {
		return MemoStat{}, err
	}
	var st unix.Stat_t
	err = retry(func() error { return unix.Lstat(path, &st) })
	if errors.Is(err, fs.ErrNotExist) {
		return MemoStat{}, &MissingError{What: "memo " + string(key)}
	}
	if err != nil {
		return MemoStat{}, fmt.Errorf("look at memo %s: %w", key, err)
	}
	return MemoStat{st.Ino, uint64(st.Size), st.Mtim.Nano(), st.Ctim.Nano()}, nil
}
