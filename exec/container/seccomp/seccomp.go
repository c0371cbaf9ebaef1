// Package seccomp compiles a seccomp profile into the filter program the kernel
// runs, in Go alone: libseccomp would have to be installed where kiln is built.
// The profile itself is Docker's default, from its own module.
package seccomp

//go:generate go run gen.go

import (
	"encoding/binary"
	"fmt"
	"slices"

	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Profile returns Docker's default profile for a process with these capabilities.
func Profile(capabilities []string) (*specs.LinuxSeccomp, error) {
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
	return profile.GetDefaultProfile(spec)
}

// Pretend makes the named system calls do nothing and succeed.
func Pretend(p *specs.LinuxSeccomp, names ...string) {
	var zero uint
	rule := specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &zero}
	p.Syscalls = append([]specs.LinuxSyscall{rule}, p.Syscalls...)
}

// Offsets into struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// x32Bit is set in the numbers of system calls of the x32 ABI.
const x32Bit = 0x40000000

// Compile returns p as an array of struct sock_filter in native byte order. It
// allows the machine's own ABI only: what p says of others is left out, which is
// stricter. A call newer than kiln's table gets ENOSYS, so that libraries fall
// back; for one call the first rule that matches counts.
func Compile(p *specs.LinuxSeccomp) ([]byte, error) {
	fallback, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	rules := map[uint32][]rule{}
	for _, call := range p.Syscalls {
		ret, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, err
		}
		for _, name := range call.Names {
			if number, ok := numbers[name]; ok {
				rules[number] = append(rules[number], rule{call.Args, ret})
			}
		}
	}
	var highest uint32
	for _, number := range numbers {
		highest = max(highest, number)
	}
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: enosys},
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: highest, SkipFalse: 1}, // x32 calls too
		bpf.RetConstant{Val: enosys},
	}
	for _, s := range spans(rules) {
		block, err := s.compile(fallback)
		if err != nil {
			return nil, err
		}
		code = append(code, block...)
	}
	return encode(append(code, bpf.RetConstant{Val: fallback}))
}

const enosys = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)

// A rule returns ret for calls whose arguments satisfy all of args.
type rule struct {
	args []specs.LinuxSeccompArg
	ret  uint32
}

// A span is a run of system calls from first to last that share one rule without
// conditions, or a single call with several.
type span struct {
	first, last uint32
	rules       []rule
}

func spans(rules map[uint32][]rule) []span {
	order := make([]uint32, 0, len(rules))
	for number := range rules {
		order = append(order, number)
	}
	slices.Sort(order)
	var list []span
	for _, number := range order {
		r := rules[number]
		if i := slices.IndexFunc(r, func(r rule) bool { return len(r.args) == 0 }); i >= 0 {
			r = r[:i+1]
		}
		if n := len(list); n > 0 && list[n-1].last+1 == number && plain(list[n-1].rules) && plain(r) && list[n-1].rules[0].ret == r[0].ret {
			list[n-1].last = number
			continue
		}
		list = append(list, span{number, number, r})
	}
	return list
}

func plain(r []rule) bool { return len(r) == 1 && len(r[0].args) == 0 }

// compile returns code that returns for the span's calls and falls through for
// others, with the call's number in A before and, when it falls through, after.
func (s span) compile(fallback uint32) ([]bpf.Instruction, error) {
	var body []bpf.Instruction
	for _, r := range s.rules {
		block, err := r.compile()
		if err != nil {
			return nil, err
		}
		body = append(body, block...)
	}
	if !plain(s.rules) && len(s.rules[len(s.rules)-1].args) > 0 {
		body = append(body, bpf.RetConstant{Val: fallback})
	}
	if len(body) > 254 {
		return nil, fmt.Errorf("rules of system call %d are too long", s.first)
	}
	skip := uint8(len(body))
	if s.first == s.last {
		return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: s.first, SkipFalse: skip}}, body...), nil
	}
	return append([]bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: s.first, SkipFalse: skip + 1},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: s.last, SkipTrue: skip},
	}, body...), nil
}

// compile returns code that returns when the rule matches and falls through when
// it does not. It leaves A undefined.
func (r rule) compile() ([]bpf.Instruction, error) {
	code := []bpf.Instruction{bpf.RetConstant{Val: r.ret}}
	for _, arg := range slices.Backward(r.args) {
		test, err := compare(arg, uint8(len(code)))
		if err != nil {
			return nil, err
		}
		code = append(test, code...)
	}
	return code, nil
}

// compare returns code that skips the next miss instructions unless the argument
// satisfies arg. Arguments have 64 bits, the machine's words 32.
func compare(arg specs.LinuxSeccompArg, miss uint8) ([]bpf.Instruction, error) {
	low, high := uint32(offArgs+8*arg.Index), uint32(offArgs+8*arg.Index+4)
	if bigEndian {
		low, high = high, low
	}
	loadLow, loadHigh := bpf.LoadAbsolute{Off: low, Size: 4}, bpf.LoadAbsolute{Off: high, Size: 4}
	vLow, vHigh := uint32(arg.Value), uint32(arg.Value>>32)
	switch arg.Op {
	case specs.OpEqualTo:
		return []bpf.Instruction{
			loadHigh, bpf.JumpIf{Cond: bpf.JumpEqual, Val: vHigh, SkipFalse: miss + 2},
			loadLow, bpf.JumpIf{Cond: bpf.JumpEqual, Val: vLow, SkipFalse: miss},
		}, nil
	case specs.OpNotEqual:
		return []bpf.Instruction{
			loadHigh, bpf.JumpIf{Cond: bpf.JumpEqual, Val: vHigh, SkipFalse: 2},
			loadLow, bpf.JumpIf{Cond: bpf.JumpEqual, Val: vLow, SkipTrue: miss},
		}, nil
	case specs.OpMaskedEqual:
		wLow, wHigh := uint32(arg.ValueTwo), uint32(arg.ValueTwo>>32)
		return []bpf.Instruction{
			loadHigh, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: vHigh}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: wHigh, SkipFalse: miss + 3},
			loadLow, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: vLow}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: wLow, SkipFalse: miss},
		}, nil
	}
	var over, under bpf.JumpTest // what the low word must be when the high words are equal
	switch arg.Op {
	case specs.OpGreaterThan:
		over = bpf.JumpGreaterThan
	case specs.OpGreaterEqual:
		over = bpf.JumpGreaterOrEqual
	case specs.OpLessThan:
		under = bpf.JumpGreaterOrEqual
	case specs.OpLessEqual:
		under = bpf.JumpGreaterThan
	default:
		return nil, fmt.Errorf("seccomp operator %q is unknown", arg.Op)
	}
	if over != 0 {
		return []bpf.Instruction{
			loadHigh,
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: vHigh, SkipTrue: 3},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: vHigh, SkipFalse: miss + 2},
			loadLow, bpf.JumpIf{Cond: over, Val: vLow, SkipFalse: miss},
		}, nil
	}
	return []bpf.Instruction{
		loadHigh,
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: vHigh, SkipTrue: miss + 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: vHigh, SkipFalse: 2},
		loadLow, bpf.JumpIf{Cond: under, Val: vLow, SkipTrue: miss},
	}, nil
}

func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	code := uint32(unix.EPERM)
	if errno != nil {
		code = uint32(*errno)
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | code&unix.SECCOMP_RET_DATA, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	}
	return 0, fmt.Errorf("seccomp action %q is not supported", a)
}

func encode(code []bpf.Instruction) ([]byte, error) {
	raw, err := bpf.Assemble(code)
	if err != nil {
		return nil, err
	}
	const most = 4096 // BPF_MAXINSNS
	if len(raw) > most {
		return nil, fmt.Errorf("filter has %d instructions, the kernel takes %d", len(raw), most)
	}
	var b []byte
	for _, r := range raw {
		b = binary.NativeEndian.AppendUint16(b, r.Op)
		b = append(b, r.Jt, r.Jf)
		b = binary.NativeEndian.AppendUint32(b, r.K)
	}
	return b, nil
}
