package docker_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/exec/rootless"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/warehouse"
)

// containers are kiln's own, over what is in dir.
func containers(dir string) (*rootless.Environment, error) {
	executor, err := embedded.Executor()
	if err != nil {
		return nil, err
	}
	enter, err := embedded.Enter()
	return &rootless.Environment{
		Warehouse: func() (*warehouse.Local, error) { return warehouse.OpenLocal(filepath.Join(dir, "warehouse")) },
		Binaries:  func() (container.Binaries, error) { return container.Binaries{Executor: executor, Enter: enter}, nil },
	}, err
}

// container returns the runner of kiln's own containers over the bench's things.
func (b *bench) container() exec.Runner {
	b.Helper()
	env, err := containers(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	return rootless.New(registry.Open(filepath.Join(b.dir, "runs")), env, []string{"kiln", "supervise"})
}

// world is the environment of a step.
var world = []string{"PATH=/bin", "HOME=/tmp", "LANG=C.UTF-8", "TERM=dumb", "TZ=UTC", "SOURCE_DATE_EPOCH=1262304000"}

// sameCases are steps that look at, or make, what environments might do differently.
var sameCases = []struct {
	name    string
	user    string
	script  []string
	inputs  string // "PORT=NAME[,rw]", of the wares below
	outputs string // "NAME=PATH[,packtype[,filters]]"
}{
	{"odd files", "", []string{
		`mkdir -p /out/d/e /out/closed /out/sticky; cd /out; echo a >a; echo b >b; ln a hard; ln -s /nowhere dangling; ln -s ../x up; : >empty; mkdir void`,
		`chmod 0 a; chmod 751 b; chmod 700 closed; chmod 1777 sticky; echo s >'odd name é'; echo c >closed/c; chmod 400 closed/c`,
	}, "", "tree=/out tar=/out,tar zip=/out,zip file=/out/b"},
	{"owners that are kept", "", []string{"mkdir /out; echo a >/out/a; echo b >/out/b; chown 1000:1001 /out/a; chown 5 /out"}, "", "tree=/out,tree,uid=keep,gid=keep tar=/out,tar,uid=keep,gid=keep,mtime=@7"},
	{"another user", "1000:1000", []string{"mkdir /tmp/out; cd /tmp/out; id >id; echo x >x; umask >umask; ls -n /in/a /in/l >in; cat /in/d/b >b 2>&1 || echo no >no; echo 2>/dev/null >/in/new || echo refused >new"}, "/in=tree", "out=/tmp/out"},
	{"overlay", "", []string{"cd /in; rm a; echo new >a2; chmod 700 d; echo more >>d/b; rm -r e; echo file >e; mkdir d/deep; mv l l2"}, "/in=tree,rw", "all=/in part=/in/d file=/in/a2 tar=/in,tar"},
	{"shows through", "", []string{"true"}, "/in=tree /over=tree,rw /one=file", "in=/in,tree,setid=keep over=/over,tree,setid=keep d=/over/d one=/one kept=/in,tree,mtime=keep,setid=keep"},
	{"nested", "", []string{"ls -R /in >/tmp/list; echo x >/in/new/y; echo 2>/dev/null x >/in/x || echo refused >/tmp/refused"}, "/in=tree /in/d/one=file /in/new=tree,rw /in/new/sub/more=tree", "in=/in,tree,setid=keep tmp=/tmp"},
	{"what hides", "", []string{"ls -A /usr /bin/sub > /tmp/list"}, "/usr=tree /bin/sub=tree,rw", "usr=/usr,tree,setid=keep sub=/bin/sub,tree,setid=keep list=/tmp/list"},
	{"one file", "", []string{"cat /one >/two; (echo more >>/rw) 2>/dev/null || echo refused >>/two"}, "/one=file /rw=file,rw", "two=/two rw=/rw"},
	{"the world", "", []string{
		`mkdir /out; cd /out; env | sort >env; umask >umask; pwd >pwd; hostname >hostname; id >id; cat >stdin; cat /etc/hosts /etc/passwd >etc`,
		`stat -c '%n %a %u:%g' / /etc /tmp; stat -c '%n %a %u:%g %Y' /etc/hosts /bin/toolbox /in /in/a /in/d >stat; ls -A /tmp /in >ls; grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:|Groups' /proc/self/status >status`,
		`grep -c lo: /proc/net/dev >net; echo x >/dev/shm/x; echo >/dev/null; head -c 3 /dev/zero | wc -c >zero; echo $0 >zero-arg; ls /.kiln/main >kiln; nproc >/dev/null`,
	}, "/in=tree", "out=/out"},
	{"the root", "", []string{"echo x >/new; rm /etc/group; mkdir /root/d; chmod 711 /root"}, "", "root=/ etc=/etc tar=/,tar"},
}

// wares are the wares of sameCases.
func (b *bench) wares() map[string]warehouse.WareID {
	dir := b.TempDir()
	sh := "cd " + dir + " && mkdir -p tree/d tree/e/f && echo a >tree/a && echo b >tree/d/b && chmod 600 tree/d/b && ln -s a tree/l && chmod 4755 tree/a && echo one >file && touch -d @1000000000 tree/d/b"
	b.sh1(sh)
	return map[string]warehouse.WareID{"tree": b.ingest(dir + "/tree"), "file": b.ingest(dir + "/file")}
}

// TestEngineSameWares: a step makes the same wares in the engine's containers and in kiln's.
func TestEngineSameWares(t *testing.T) {
	under(t)
	b := newBench(t)
	kiln, wares := b.container(), b.wares()
	for _, apart := range []bool{false, true} {
		t.Run(map[bool]string{false: "shared", true: "apart"}[apart], func(t *testing.T) {
			b := *b
			b.T, b.r = t, b.connect(apart)
			for _, c := range sameCases {
				t.Run(c.name, func(t *testing.T) {
					b.T = t
					spec := exec.JobSpec{Name: c.name, Command: []string{"/bin/sh"}, Script: c.script, Env: world, Root: b.root, User: c.user}
					for in := range strings.FieldsSeq(c.inputs) {
						port, name, _ := strings.Cut(in, "=")
						name, rw := strings.CutSuffix(name, ",rw")
						spec.Inputs = append(spec.Inputs, exec.JobInput{Port: port, Ware: wares[name], Mode: map[bool]formula.Mode{false: formula.ReadOnly, true: formula.Overlay}[rw]})
					}
					for out := range strings.FieldsSeq(c.outputs) {
						name, rest, _ := strings.Cut(out, "=")
						parts := append(strings.SplitN(rest, ",", 3), "tree", "")
						if len(parts) == 3 {
							parts = append(parts, "")
						}
						spec.Outputs = append(spec.Outputs, exec.JobOutput{Name: name, Path: parts[0], Packtype: parts[1], Filters: strings.TrimPrefix(parts[2], "tree")})
					}
					want, words := b.doOn(kiln, spec)
					if want.Status != exec.RunSucceeded {
						t.Fatalf("in a container of kiln's it is %s: %s\n%s", want.Reason, want.Message, words)
					}
					got, words := b.do(spec)
					if got.Status != exec.RunSucceeded {
						t.Fatalf("it is %s: %s\n%s", got.Reason, got.Message, words)
					}
					for _, name := range slices.Sorted(maps.Keys(want.Outputs)) {
						if got.Outputs[name] != want.Outputs[name] {
							t.Errorf("output %s is %s, in a container of kiln's %s (%s)\n%s", name, got.Outputs[name], want.Outputs[name], got.Isolation, b.diff(want.Outputs[name], got.Outputs[name]))
						}
					}
				})
			}
		})
	}
}
