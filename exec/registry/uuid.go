package registry

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"sync"
	"time"
)

var (
	lastMu sync.Mutex
	last   uint64 // the time in the id made last
)

// NewID returns a uuid of version 7 (RFC 9562): 48 bits of milliseconds since 1970, 12
// bits of a millisecond's fraction, 62 random bits. Of one process each is greater than
// the one before, whatever its clock does.
func NewID() string {
	id, _ := newID(time.Now)
	return id
}

// newID returns an id and when it was made: of one process their order is the same,
// unless its clock is set back.
func newID(clock func() time.Time) (string, time.Time) {
	lastMu.Lock()
	now := clock()
	ms, fraction := uint64(now.UnixMilli()), uint64(now.Nanosecond()%1e6)
	stamp := max(ms<<12|fraction<<12/1e6, last+1)
	last = stamp
	lastMu.Unlock()
	var id [16]byte
	rand.Read(id[8:])
	binary.BigEndian.PutUint64(id[:], stamp>>12<<16|7<<12|stamp&0xfff)
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:], now
}

// madeAt returns when a valid id was made, by the clock of its maker: to the millisecond.
func madeAt(id string) time.Time {
	ms, _ := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
	return time.UnixMilli(ms)
}

// validID reports whether a name is of the form of an id.
func validID(name string) bool {
	if len(name) != 36 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') ||
			!dash && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
