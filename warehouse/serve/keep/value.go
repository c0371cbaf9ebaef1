package keep

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// MaxValue is how large a value may be, in bytes.
const MaxValue = 16 << 20

// Value returns the value of a name. The error matches ErrMissing when there is none,
// or what is there is damaged.
func (s *Store) Value(space Space, name Sum) ([]byte, error) {
	s.mu.Lock()
	e := s.lookUp(key{space, name})
	s.mu.Unlock()
	if e == nil {
		return nil, ErrMissing
	}
	f, err := s.openFile(e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, sha256.Size+MaxValue))
	if err != nil {
		return nil, err
	}
	if len(data) >= sha256.Size {
		if sum := sha256.Sum256(data[sha256.Size:]); bytes.Equal(sum[:], data[:sha256.Size]) {
			return data[sha256.Size:], nil
		}
	}
	s.forget(e)
	return nil, ErrMissing
}

// SetValue gives a name a value, in place of the one it has. When it returns, the value is
// there also after a power cut. On disk it lies behind its SHA-256: disks lie, and
// nothing else could tell. The error matches ErrFull.
func (s *Store) SetValue(space Space, name Sum, value []byte) error {
	sum := sha256.Sum256(value)
	size := int64(len(sum) + len(value))
	if err := s.pledge(room(size)); err != nil {
		return err
	}
	s.mu.Lock()
	temp := s.tempPath()
	s.mu.Unlock()
	err := writeFlushed(temp, append(sum[:], value...))
	e := &entry{key: key{space, name}, bytes: size}
	if err == nil {
		err = s.place(temp, e, room(size))
	}
	if err != nil {
		_ = os.Remove(temp) // or the next start does
		s.unpledge(room(size))
		return noRoom(err)
	}
	return flush(filepath.Dir(s.path(e.key)))
}

func writeFlushed(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// flush makes the names in a directory durable.
func flush(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// DropValue removes the value of a name, if it has one.
func (s *Store) DropValue(space Space, name Sum) {
	s.mu.Lock()
	e := s.there[key{space, name}]
	s.mu.Unlock()
	if e != nil {
		s.forget(e)
	}
}
