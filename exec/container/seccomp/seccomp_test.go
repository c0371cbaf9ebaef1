package seccomp

import (
	"encoding/binary"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// expected evaluates a profile the plain way: the first rule that matches.
func expected(t *testing.T, p *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	t.Helper()
	for _, call := range p.Syscalls {
		for _, n := range call.Names {
			if n != name {
				continue
			}
			match := true
			for _, a := range call.Args {
				match = match && holds(t, a, args[a.Index])
			}
			if match {
				ret, err := action(call.Action, call.ErrnoRet)
				if err != nil {
					t.Fatal(err)
				}
				return ret
			}
		}
	}
	ret, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	return ret
}

func holds(t *testing.T, a specs.LinuxSeccompArg, v uint64) bool {
	switch a.Op {
	case specs.OpEqualTo:
		return v == a.Value
	case specs.OpNotEqual:
		return v != a.Value
	case specs.OpGreaterThan:
		return v > a.Value
	case specs.OpGreaterEqual:
		return v >= a.Value
	case specs.OpLessThan:
		return v < a.Value
	case specs.OpLessEqual:
		return v <= a.Value
	case specs.OpMaskedEqual:
		return v&a.Value == a.ValueTwo
	}
	t.Fatalf("operator %s", a.Op)
	return false
}

// A filter runs in a machine that reads words in network order, the kernel in
// native order: data is laid out accordingly.
func data(arch, number uint32, args [6]uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, number)
	b = binary.BigEndian.AppendUint32(b, arch)
	b = append(b, make([]byte, 8)...) // instruction pointer
	for _, a := range args {
		b = binary.BigEndian.AppendUint32(b, uint32(a))
		b = binary.BigEndian.AppendUint32(b, uint32(a>>32))
	}
	return b
}

func machine(t *testing.T, p *specs.LinuxSeccomp) *bpf.VM {
	t.Helper()
	raw, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	var code []bpf.Instruction
	for i := 0; i < len(raw); i += 8 {
		r := bpf.RawInstruction{Op: binary.NativeEndian.Uint16(raw[i:]), Jt: raw[i+2], Jf: raw[i+3], K: binary.NativeEndian.Uint32(raw[i+4:])}
		code = append(code, r.Disassemble())
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// samples are argument values around every boundary that rules speak of.
var samples = []uint64{0, 1, 8, 37, 38, 39, 40, 41, 0x20000, 0x20008, unix.CLONE_NEWUSER, unix.CLONE_NEWNS | unix.CLONE_VM, unix.CLONE_VM, 0xffffffff, 1 << 32, 1<<32 | 38, 1<<63 | 40}

func TestCompiledFilterIsTheProfile(t *testing.T) {
	for _, caps := range [][]string{nil, {"CAP_SYS_CHROOT"}, {"CAP_SYS_ADMIN"}} {
		p, err := Profile(caps)
		if err != nil {
			t.Fatal(err)
		}
		Pretend(p, "chown")
		vm := machine(t, p)
		for name, number := range numbers {
			for _, v := range samples {
				args := [6]uint64{v, v, v, v, v, v}
				got, err := vm.Run(data(auditArch, number, args))
				if err != nil {
					t.Fatal(err)
				}
				if want := expected(t, p, name, args); uint32(got) != want {
					t.Errorf("caps %v: %s(%#x) gives %#x, want %#x", caps, name, v, got, want)
				}
			}
		}
		for what, d := range map[string][]byte{
			"another ABI": data(unix.AUDIT_ARCH_I386, 1, [6]uint64{}),
			"x32":         data(auditArch, 1|x32Bit, [6]uint64{}),
			"a new call":  data(auditArch, 5000, [6]uint64{}),
		} {
			if got, _ := vm.Run(d); uint32(got) != enosys {
				t.Errorf("%s gives %#x, want ENOSYS", what, got)
			}
		}
	}
}

func TestOperators(t *testing.T) {
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual}
	for _, op := range ops {
		for _, bound := range samples {
			arg := specs.LinuxSeccompArg{Index: 2, Value: bound, Op: op}
			p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg}}}}
			vm := machine(t, p)
			for _, v := range append(samples, bound-1, bound+1) {
				got, _ := vm.Run(data(auditArch, numbers["read"], [6]uint64{2: v}))
				if want := holds(t, arg, v); (uint32(got) == unix.SECCOMP_RET_ALLOW) != want {
					t.Errorf("%#x %s %#x: got %#x", v, op, bound, got)
				}
			}
		}
	}
}

func TestUnknownActionsAndOperators(t *testing.T) {
	if _, err := Compile(&specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ODD"}); err == nil {
		t.Error("an unknown action compiles")
	}
	bad := specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: "ODD"}}}
	if _, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{bad}}); err == nil {
		t.Error("an unknown operator compiles")
	}
}
