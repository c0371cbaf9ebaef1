package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

const (
	// keyTag versions the encoding that a step key hashes; docs/formats.md, section 9.
	keyTag = "kiln step key 1"

	// Platform is the one that steps run on.
	Platform = "linux/" + runtime.GOARCH

	// World is the version of what every step sees besides what its formula says:
	// hostname, default environment, umask, devices. Who changes that in package
	// exec changes it here, so that no memo of the old world is used in the new one.
	World = "1"
)

var keyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// stepKey returns the hash of everything that can change what s makes. Inputs are
// sorted by port. What cannot change it stays out: names, timeouts, limits and
// where in the formula it was written.
func stepKey(s *formula.Step, inputs []ResolvedInput) warehouse.StepKey {
	buf := keyBuffers.Get().(*[]byte)
	b := appendString((*buf)[:0], keyTag)
	b = appendString(b, Platform)
	b = appendString(b, World)
	b = binary.AppendUvarint(b, uint64(len(inputs)))
	for _, in := range inputs {
		b = appendString(b, in.Port)
		b = appendString(b, string(in.Mode))
		if in.Host != "" || in.Filters != "" {
			b = appendString(b, in.Content())
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(in.Ware.Packtype)+1+len(in.Ware.Hash)))
		b = append(append(append(b, in.Ware.Packtype...), ':'), in.Ware.Hash...)
	}
	b = appendEnv(b, s.Env)
	switch c := s.Action.Call; {
	case c != nil:
		b = appendStrings(appendString(b, "call"), s.Action.Exec)
		b = appendString(b, string(c.SchemaIn))
		b = appendString(b, string(c.SchemaOut))
		b = appendString(b, string(c.Input))
	case s.Action.Echo:
		b = appendString(b, "echo")
	case s.Action.Script != nil:
		kind := "script"
		if s.Action.Continue {
			kind = "script, going on"
		}
		b = appendStrings(appendString(b, kind), s.Action.Interpreter)
		b = appendStrings(b, s.Action.Script)
	default:
		b = appendStrings(appendString(b, "exec"), s.Action.Exec)
	}
	b = appendOutputs(b, s.Outputs)
	b = appendString(b, s.Cwd)
	b = appendString(b, s.User)
	if s.Network {
		b = appendString(b, "network")
	}
	sum := sha256.Sum256(b)
	*buf = b
	keyBuffers.Put(buf)
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], sum[:])
	return warehouse.StepKey(digits[:])
}

func appendEnv(b []byte, env []formula.EnvVar) []byte {
	byName := func(a, b formula.EnvVar) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(env, byName) {
		env = slices.SortedFunc(slices.Values(env), byName)
	}
	b = binary.AppendUvarint(b, uint64(len(env)))
	for _, v := range env {
		b = appendString(appendString(b, v.Name), v.Value)
	}
	return b
}

func appendOutputs(b []byte, outputs []formula.StepOutput) []byte {
	byName := func(a, b formula.StepOutput) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(outputs, byName) {
		outputs = slices.SortedFunc(slices.Values(outputs), byName)
	}
	b = binary.AppendUvarint(b, uint64(len(outputs)))
	for _, o := range outputs {
		b = appendString(appendString(b, o.Name), o.Path)
		b = appendString(appendString(b, o.Packtype), canonicalFilters(o.Filters))
	}
	return b
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
