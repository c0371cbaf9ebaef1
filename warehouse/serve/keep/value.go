package keep

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
)

// MaxValue is how large a value may be, in bytes.
const MaxValue = 16 << 20

// Value returns the value of a name. The error matches ErrMissing when there is none,
// or what is there was not written whole before the power went.
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

// SetValue gives a name a value, in place of the one it has. On disk it lies behind its
// SHA-256: nobody else could tell a file that was written whole from one that was not.
// The error matches ErrFull.
func (s *Store) SetValue(space Space, name Sum, value []byte) error {
	sum := sha256.Sum256(value)
	size := int64(len(sum) + len(value))
	if err := s.pledge(room(size)); err != nil {
		return err
	}
	s.mu.Lock()
	temp := s.tempPath()
	s.mu.Unlock()
	err := os.WriteFile(temp, append(sum[:], value...), 0o600)
	if err == nil {
		err = s.place(temp, &entry{key: key{space, name}, bytes: size}, room(size))
	}
	if err != nil {
		_ = os.Remove(temp) // or the next start does
		s.unpledge(room(size))
	}
	return noRoom(err)
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
