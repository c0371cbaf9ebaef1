// Package grpc calls and serves gRPC methods over net/http. It knows messages by the
// Fields method that each has; what they mean it leaves to package remote.
//
// It is the part of gRPC that caches use: unary and streaming calls, deadlines, status
// codes; no compression of messages, no name resolution, no balancing, no reflection.
// google.golang.org/grpc would do the same, but linking it makes each start of kiln
// 1.2 to 1.6 ms slower (0.5 ms of that in package initialisation) and kiln 6 MB larger,
// also where no server is spoken to. connectrpc.com/connect 1.21 with these messages as its
// codec was measured too: 0.15 to 0.35 ms of initialisation, nearly all of it protobuf's, which
// it needs whatever the codec; 5.0 MB and 34 packages more; 629 allocations a call that asks
// for 100 digests in place of 585; and 36 MB allocated to write 16 MiB in pieces in place of
// 18, since it copies each message once more. A third of this package, fields.go, would stay,
// and so would what ends calls that stand still. The protocol is specified in
// doc/PROTOCOL-HTTP2.md of github.com/grpc/grpc.
package grpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// DefaultMaxMessage is how large a message that is received may be, in bytes, unless
// options say otherwise: gRPC's customary 4 MiB, and what surrounds 4 MiB of content.
const DefaultMaxMessage = 4<<20 + 64<<10

// head is the length of what goes before each message: whether it is compressed, and
// its length.
const head = 5

// appendFramed appends a message behind its head.
func appendFramed(b []byte, m Message) []byte {
	start := len(b)
	b = Append(append(b, 0, 0, 0, 0, 0), m)
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-head))
	return b
}

// receive reads a message of at most limit bytes; io.EOF if there is none more. What
// it decodes into m refers to memory that nothing else uses.
func receive(r io.Reader, m Message, limit int) error {
	var h [head]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = &Error{Code: Internal, Message: "the stream ended within a message", cause: err}
		}
		return err
	}
	size := binary.BigEndian.Uint32(h[1:])
	if h[0] != 0 {
		return &Error{Code: Unimplemented, Message: "a message is compressed, which was not offered"}
	}
	if int64(size) > int64(limit) {
		return &Error{Code: ResourceExhausted, Message: fmt.Sprintf("a message has %d bytes, more than the %d allowed", size, limit)}
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = &Error{Code: Internal, Message: "the stream ended within a message", cause: io.ErrUnexpectedEOF}
		}
		return err
	}
	if err := Unmarshal(b, m); err != nil {
		return &Error{Code: Internal, Message: err.Error()}
	}
	return nil
}

// receiveOnly reads the one message that a stream is to have.
func receiveOnly(r io.Reader, m Message, limit int) error {
	err := receive(r, m, limit)
	if err == io.EOF {
		return &Error{Code: Internal, Message: "there is no message where one was due"}
	}
	if err != nil {
		return err
	}
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); {
	case err == nil:
		return &Error{Code: Internal, Message: "there are several messages where one was due"}
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
