package reapi

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// A journal holds the contents that have come of a ware, one after the other, so that
// a Get that was killed goes on from there: docs/formats.md, section 21. What is read
// from it is verified, so it need not be whole. A nil one holds nothing.
type journal struct {
	f  *os.File
	mu sync.Mutex
	at int64                   // its end
	in map[remote.Digest]int64 // where each content begins
}

// journalHead is the length of what stands before each content: its SHA-256 and its
// size, 8 bytes, big-endian.
const journalHead = 32 + 8

// minJournal is how large the files of a ware must be together for it to have a
// journal, in bytes: less is fetched again as soon.
const minJournal = 16 << 20

// openJournal opens the journal of a ware in the directory for parts. It is nil if
// another process has it: the two do not help each other.
func openJournal(dir string, id warehouse.WareID) (*journal, error) {
	path := filepath.Join(dir, "reapi-"+id.Packtype+"-"+id.Hash+".journal")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep parts: %w", err)
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !same(f, path) {
		return nil, f.Close()
	}
	j := &journal{f: f, in: map[remote.Digest]int64{}}
	if err := j.read(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// read finds out what is in it. What follows the last whole content is overwritten.
func (j *journal) read() error {
	info, err := j.f.Stat()
	if err != nil {
		return err
	}
	for {
		var head [journalHead]byte
		if _, err := j.f.ReadAt(head[:], j.at); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		d := remote.Digest{Hash: hex.EncodeToString(head[:32]), Size: int64(binary.BigEndian.Uint64(head[32:]))}
		begin := j.at + journalHead
		if d.Size < 0 || d.Size > info.Size()-begin {
			return nil
		}
		j.in[d], j.at = begin, begin+d.Size
	}
}

// has reports whether a content seems to be there.
func (j *journal) has(d remote.Digest) bool {
	if j == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.in[d]
	return ok
}

// get returns a content, if it is there and right.
func (j *journal) get(d remote.Digest) ([]byte, bool) {
	if j == nil {
		return nil, false
	}
	j.mu.Lock()
	begin, ok := j.in[d]
	j.mu.Unlock()
	if !ok {
		return nil, false
	}
	data := make([]byte, d.Size)
	_, err := j.f.ReadAt(data, begin)
	return data, err == nil && remote.DigestOf(data) == d
}

// put adds a content that was verified.
func (j *journal) put(d remote.Digest, data []byte) error {
	if j == nil {
		return nil
	}
	var head [journalHead]byte
	if _, err := hex.Decode(head[:32], []byte(d.Hash)); err != nil {
		return err
	}
	binary.BigEndian.PutUint64(head[32:], uint64(d.Size))
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.f.WriteAt(head[:], j.at); err != nil {
		return fmt.Errorf("keep parts: %w", err)
	}
	if _, err := j.f.WriteAt(data, j.at+journalHead); err != nil {
		return fmt.Errorf("keep parts: %w", err)
	}
	j.in[d] = j.at + journalHead
	j.at += journalHead + d.Size
	return nil
}

// end closes it, and removes it if it is of no more use.
func (j *journal) end(useless bool) (err error) {
	if j == nil {
		return nil
	}
	if useless {
		err = os.Remove(j.f.Name())
	}
	return errors.Join(err, j.f.Close())
}
