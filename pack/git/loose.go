package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// loosePath is where an object lies that is in no pack.
func loosePath(dir string, id ID) string {
	name := id.String()
	return filepath.Join(dir, name[:2], name[2:])
}

// openLoose opens a loose object; its content is what is left to read in f.z.
func openLoose(path string) (k Kind, size int64, f *inflater, file *os.File, err error) {
	file, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, 0, nil, nil, err
	}
	f = inflaters.Get().(*inflater)
	f.in.Reset(file)
	if err = f.reset(&f.in); err == nil {
		k, size, err = f.looseHeader()
	}
	if err != nil {
		file.Close()
		inflaters.Put(f)
		return 0, 0, nil, nil, err
	}
	return k, size, f, file, nil
}

// looseHeader reads "blob 12\0" from the stream, byte by byte as it must not read on.
func (f *inflater) looseHeader() (Kind, int64, error) {
	head := f.head[:0]
	for len(head) < 32 {
		n, err := io.ReadFull(f.z, f.head[len(head):len(head)+1])
		if n == 0 {
			return 0, 0, inflateError(err)
		}
		if head = f.head[:len(head)+1]; head[len(head)-1] != 0 {
			continue
		}
		kind, digits, _ := strings.Cut(string(bytes.TrimSuffix(head, []byte{0})), " ")
		size, err := strconv.ParseInt(digits, 10, 64)
		if k := kindOf(kind); k != 0 && err == nil && size >= 0 {
			return k, size, nil
		}
		break
	}
	return 0, 0, errors.New("its header is none of an object")
}

func readLoose(path string, limit int64) (Kind, []byte, error) {
	k, size, f, file, err := openLoose(path)
	if err != nil {
		return 0, nil, err
	}
	defer inflaters.Put(f)
	defer file.Close()
	if size > limit {
		return k, nil, &largeError{size, limit}
	}
	data, err := f.all(size)
	return k, data, err
}

// A largeError is an object larger than what was asked to be read at once.
type largeError struct{ size, limit int64 }

func (e *largeError) Error() string {
	return fmt.Sprintf("it has %d bytes, more than the %d allowed", e.size, e.limit)
}
