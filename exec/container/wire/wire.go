// Package wire is what kiln and its executor say to each other: typed messages
// in length-prefixed frames over one stream socket. Both ends are the same build,
// so there is no versioning.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Kind says what a frame holds. The comments name the sender: K kiln, X executor.
type Kind byte

// The kinds of frame.
const (
	KindHello    Kind = iota + 1 // K: Hello, first
	KindReady                    // X: Ready, answers Hello
	KindPrepare                  // K: Job
	KindPrepared                 // X: Prepared
	KindStart                    // K: Start
	KindLog                      // X: 8 bytes job, then bytes
	KindExited                   // X: Exited
	KindPacked                   // X: Packed, the job's last
	KindFailed                   // X: Failed, the job's last
	KindEnd                      // K: End: give up a prepared job, or end a running one
	KindUsage                    // K: Usage, asks; X: Usage, answers
)

const maxFrame = 256 << 20

// A Conn sends and receives frames. Send is safe for concurrent use, Receive is not.
type Conn struct {
	rw io.ReadWriter
	r  *bufio.Reader
	mu sync.Mutex
	w  *bufio.Writer
}

// NewConn returns a Conn over rw.
func NewConn(rw io.ReadWriter) *Conn {
	return &Conn{rw: rw, r: bufio.NewReaderSize(rw, 64<<10), w: bufio.NewWriterSize(rw, 64<<10)}
}

// Send writes one frame whose payload is v as JSON.
func (c *Conn) Send(kind Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	return c.sendFrame(kind, nil, payload)
}

// SendLog writes one KindLog frame.
func (c *Conn) SendLog(job int64, data []byte) error {
	return c.sendFrame(KindLog, binary.LittleEndian.AppendUint64(nil, uint64(job)), data)
}

func (c *Conn) sendFrame(kind Kind, head, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var prefix [5]byte
	binary.LittleEndian.PutUint32(prefix[:], uint32(len(head)+len(payload)))
	prefix[4] = byte(kind)
	for _, part := range [][]byte{prefix[:], head, payload} {
		if _, err := c.w.Write(part); err != nil {
			return err
		}
	}
	return c.w.Flush()
}

// A Frame is one message received.
type Frame struct {
	Kind    Kind
	Payload []byte
}

// Receive returns the next frame. The error is io.EOF when the other end has
// closed between frames.
func (c *Conn) Receive() (Frame, error) {
	var prefix [5]byte
	if _, err := io.ReadFull(c.r, prefix[:]); err != nil {
		return Frame{}, err
	}
	size := binary.LittleEndian.Uint32(prefix[:])
	if size > maxFrame {
		return Frame{}, fmt.Errorf("frame of %d bytes is larger than %d", size, maxFrame)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return Frame{}, io.ErrUnexpectedEOF
	}
	return Frame{Kind: Kind(prefix[4]), Payload: payload}, nil
}

// Decode reads a frame's payload into v.
func (f Frame) Decode(v any) error { return json.Unmarshal(f.Payload, v) }

// Log returns the job and the bytes of a KindLog frame.
func (f Frame) Log() (job int64, data []byte) {
	if len(f.Payload) < 8 {
		return 0, nil
	}
	return int64(binary.LittleEndian.Uint64(f.Payload)), f.Payload[8:]
}
