package git

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// An Object is one being read. What it gives is right once it has given io.EOF:
// before that, an object that is not what its id names is an error.
type Object struct {
	Kind Kind
	Size int64
	id   ID
	r    io.Reader
	h    hash.Hash
	left int64
	f    *inflater
	file *os.File
}

// Open begins to read an object of any size. One that is kept whole takes little
// memory, one that is kept as a delta is made there. The caller closes it.
func (s *Store) Open(id ID) (*Object, error) {
	o, err := s.open(id)
	if err != nil {
		return nil, &ObjectError{Blob, id, err}
	}
	o.id, o.left, o.h = id, o.Size, newHash(s.size)
	hashHeader(o.h, o.Kind, o.Size)
	return o, nil
}

func (s *Store) open(id ID) (*Object, error) {
	p, off, path, err := s.find(id)
	if err != nil {
		return nil, err
	}
	o := &Object{}
	if p == nil {
		o.Kind, o.Size, o.f, o.file, err = openLoose(path)
		if err == nil {
			o.r = o.f.z
		}
		return o, err
	}
	f := inflaters.Get().(*inflater)
	e, _, err := p.entry(off, f)
	if err == nil && e.kind <= Tag {
		if err = p.stream(e, f); err == nil {
			o.Kind, o.Size, o.f, o.r = e.kind, e.size, f, f.z
			return o, nil
		}
	}
	inflaters.Put(f)
	if err != nil {
		return nil, err
	}
	k, data, err := s.unpack(p, off, maxDelta)
	o.Kind, o.Size, o.r = k, int64(len(data)), bytes.NewReader(data)
	return o, err
}

// Read reads the object's content.
func (o *Object) Read(b []byte) (int, error) {
	n, err := o.r.Read(b)
	if int64(n) > o.left {
		return 0, &ObjectError{o.Kind, o.id, errors.New("it is longer than its header says")}
	}
	o.left -= int64(n)
	o.h.Write(b[:n])
	switch {
	case err == io.EOF && o.left > 0:
		err = errors.New("it is shorter than its header says")
	case err == io.EOF:
		var got ID
		if got, err = sum(o.h); err == nil && got != o.id {
			err = fmt.Errorf("it is damaged: its hash is %s", got)
		}
		if err == nil {
			return n, io.EOF
		}
	case err != nil:
		err = inflateError(err)
	default:
		return n, nil
	}
	return n, &ObjectError{o.Kind, o.id, err}
}

// Close ends reading.
func (o *Object) Close() error {
	if o.f != nil {
		inflaters.Put(o.f)
		o.f = nil
	}
	if o.file != nil {
		return o.file.Close()
	}
	return nil
}
