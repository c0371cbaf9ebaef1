package git

import "errors"

var errDelta = errors.New("its delta is damaged")

// deltaSizes reads how delta begins: the sizes of what it applies to and of what it
// makes. rest is what follows.
func deltaSizes(delta []byte) (base, result int64, rest []byte, err error) {
	for _, n := range []*int64{&base, &result} {
		for shift := 0; ; shift += 7 {
			if len(delta) == 0 || shift > 56 {
				return 0, 0, nil, errDelta
			}
			c := delta[0]
			delta = delta[1:]
			*n |= int64(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
	}
	return base, result, delta, nil
}

// applyDelta makes an object out of base: a delta is a row of copies from base and
// of bytes to insert.
func applyDelta(base, delta []byte, limit int64) ([]byte, error) {
	baseSize, size, ops, err := deltaSizes(delta)
	if err != nil {
		return nil, err
	}
	if baseSize != int64(len(base)) {
		return nil, errors.New("its delta is for another base")
	}
	if size > limit {
		return nil, &largeError{size, limit}
	}
	out := make([]byte, 0, min(size, grow))
	for len(ops) > 0 {
		op := ops[0]
		ops = ops[1:]
		if op == 0 {
			return nil, errDelta
		}
		if op < 0x80 {
			n := int(op)
			if n > len(ops) || int64(len(out)+n) > size {
				return nil, errDelta
			}
			out = append(out, ops[:n]...)
			ops = ops[n:]
			continue
		}
		var from, n int64
		for bit := range 7 {
			if op&(1<<bit) == 0 {
				continue
			}
			if len(ops) == 0 {
				return nil, errDelta
			}
			if bit < 4 {
				from |= int64(ops[0]) << (8 * bit)
			} else {
				n |= int64(ops[0]) << (8 * (bit - 4))
			}
			ops = ops[1:]
		}
		if n == 0 {
			n = 0x10000
		}
		if from+n > int64(len(base)) || int64(len(out))+n > size {
			return nil, errDelta
		}
		out = append(out, base[from:from+n]...)
	}
	if int64(len(out)) != size {
		return nil, errDelta
	}
	return out, nil
}
