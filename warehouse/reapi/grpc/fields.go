package grpc

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// A Message is a protobuf message. Its Fields method calls, for each of its fields in
// order of their numbers, the method of f that fits the field's type, and nothing else:
// that is how the message is measured, written and read.
type Message interface{ Fields(f *Fields) }

// Fields measures, writes or reads a message. As in proto3, fields that have their
// zero value are not written; of those that are read, the unknown are left out.
type Fields struct {
	doing action
	size  int    // when measuring
	b     []byte // when writing

	// When reading, one field after another.
	number int
	wire   byte
	v      uint64 // of wireVarint
	data   []byte // of wireBytes
	whole  []byte
	err    error
}

type action byte

const (
	measuring action = iota
	writing
	reading
)

// Wire types of protobuf's encoding.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

var errMalformed = errors.New("malformed message")

// Size returns the length of m's encoding, in bytes.
func Size(m Message) int {
	var f Fields
	m.Fields(&f)
	return f.size
}

// Marshal returns m's encoding.
func Marshal(m Message) []byte { return Append(nil, m) }

// Append appends m's encoding to b.
func Append(b []byte, m Message) []byte {
	if need := len(b) + Size(m); need > cap(b) {
		b = append(make([]byte, 0, need), b...)
	}
	f := Fields{doing: writing, b: b}
	m.Fields(&f)
	return f.b
}

// Unmarshal reads an encoded message into m. What m has of type []byte refers to b
// afterwards.
func Unmarshal(b []byte, m Message) error {
	f := Fields{doing: reading, whole: b}
	for len(b) > 0 && f.err == nil {
		if b = f.next(b); b == nil {
			return errMalformed
		}
		m.Fields(&f)
	}
	return f.err
}

// next takes a field from b and returns what is behind it; nil if there is none.
func (f *Fields) next(b []byte) []byte {
	key, n := binary.Uvarint(b)
	if n <= 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
		return nil
	}
	b = b[n:]
	f.number, f.wire, f.v, f.data = int(key>>3), byte(key&7), 0, nil
	switch f.wire {
	case wireVarint:
		if f.v, n = binary.Uvarint(b); n <= 0 {
			return nil
		}
	case wire64:
		n = 8
	case wire32:
		n = 4
	case wireBytes:
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			return nil
		}
		n = k + int(size)
		f.data = b[k:n:n]
	default:
		return nil
	}
	if n > len(b) {
		return nil
	}
	return b[n:]
}

// Reading reports whether the message is being read, not measured or written.
func (f *Fields) Reading() bool { return f.doing == reading }

// Whole is the whole of a message that is kept as it is encoded: it has no other
// field.
func (f *Fields) Whole(p *[]byte) {
	switch f.doing {
	case measuring:
		f.size += len(*p)
	case writing:
		f.b = append(f.b, *p...)
	case reading:
		*p = f.whole
	}
}

// is reports whether the field being read is of this number and type.
func (f *Fields) is(number int, wire byte) bool {
	return f.doing == reading && f.number == number && f.wire == wire
}

// key begins a field.
func (f *Fields) key(number int, wire byte) {
	f.varint(uint64(number)<<3 | uint64(wire))
}

func (f *Fields) varint(v uint64) {
	if f.doing == measuring {
		f.size += (bits.Len64(v|1) + 6) / 7
		return
	}
	f.b = binary.AppendUvarint(f.b, v)
}

// number writes a number that is not 0 and reads any.
func number[T ~int32 | ~int64](f *Fields, number int, p *T) {
	switch {
	case f.is(number, wireVarint):
		*p = T(f.v)
	case f.doing != reading && *p != 0:
		f.key(number, wireVarint)
		f.varint(uint64(int64(*p)))
	}
}

// Int64 is a field of type int64.
func (f *Fields) Int64(n int, p *int64) { number(f, n, p) }

// Int32 is a field of type int32.
func (f *Fields) Int32(n int, p *int32) { number(f, n, p) }

// Enum is a field of an enumeration.
func Enum[E ~int32](f *Fields, n int, p *E) { number(f, n, p) }

// Bool is a field of type bool.
func (f *Fields) Bool(n int, p *bool) {
	switch {
	case f.is(n, wireVarint):
		*p = f.v != 0
	case f.doing != reading && *p:
		f.key(n, wireVarint)
		f.varint(1)
	}
}

// raw writes a field of bytes, also an empty one.
func raw[T string | []byte](f *Fields, n int, v T) {
	f.key(n, wireBytes)
	f.varint(uint64(len(v)))
	if f.doing == measuring {
		f.size += len(v)
		return
	}
	f.b = append(f.b, v...)
}

// String is a field of type string.
func (f *Fields) String(n int, p *string) {
	switch {
	case f.is(n, wireBytes):
		*p = string(f.data)
	case f.doing != reading && *p != "":
		raw(f, n, *p)
	}
}

// Bytes is a field of type bytes, or of a message that is kept as it is encoded.
func (f *Fields) Bytes(n int, p *[]byte) {
	switch {
	case f.is(n, wireBytes):
		*p = f.data
	case f.doing != reading && len(*p) > 0:
		raw(f, n, *p)
	}
}

// Strings is a repeated field of type string.
func (f *Fields) Strings(n int, p *[]string) {
	if f.is(n, wireBytes) {
		*p = append(*p, string(f.data))
	}
	if f.doing != reading {
		for _, v := range *p {
			raw(f, n, v)
		}
	}
}

// ByteSlices is a repeated field of type bytes, or of messages kept as they are encoded.
func (f *Fields) ByteSlices(n int, p *[][]byte) {
	if f.is(n, wireBytes) {
		*p = append(*p, f.data)
	}
	if f.doing != reading {
		for _, v := range *p {
			raw(f, n, v)
		}
	}
}

// Enums is a repeated field of an enumeration.
func Enums[E ~int32](f *Fields, n int, p *[]E) {
	switch {
	case f.is(n, wireVarint): // how proto2 writes them
		*p = append(*p, E(f.v))
	case f.is(n, wireBytes):
		for b := f.data; len(b) > 0; {
			v, k := binary.Uvarint(b)
			if k <= 0 {
				f.err = errMalformed
				return
			}
			*p, b = append(*p, E(v)), b[k:]
		}
	case f.doing != reading && len(*p) > 0:
		var b []byte
		for _, v := range *p {
			b = binary.AppendUvarint(b, uint64(int64(v)))
		}
		raw(f, n, b)
	}
}

// pointer is the type of pointers to T, which are messages.
type pointer[T any] interface {
	*T
	Message
}

// Sub is a field that is a message, nil when it is not there.
func Sub[T any, P pointer[T]](f *Fields, n int, p *P) {
	switch {
	case f.is(n, wireBytes):
		if *p == nil {
			*p = new(T)
		}
		f.sub(*p)
	case f.doing != reading && *p != nil:
		f.message(n, *p)
	}
}

// Subs is a repeated field of messages.
func Subs[T any, P pointer[T]](f *Fields, n int, p *[]T) {
	if f.is(n, wireBytes) {
		*p = append(*p, *new(T))
		f.sub(P(&(*p)[len(*p)-1]))
	}
	if f.doing != reading {
		for i := range *p {
			f.message(n, P(&(*p)[i]))
		}
	}
}

// sub reads the message that the field at hand is.
func (f *Fields) sub(m Message) {
	if err := Unmarshal(f.data, m); err != nil {
		f.err = err
	}
}

// message writes a message.
func (f *Fields) message(n int, m Message) {
	size := Size(m)
	f.key(n, wireBytes)
	f.varint(uint64(size))
	if f.doing == measuring {
		f.size += size
		return
	}
	m.Fields(f)
}
