package toolbox

import (
	"bytes"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain makes the test binary the toolbox when it is called by an applet's name.
func TestMain(m *testing.M) {
	if _, ok := lookup(filepath.Base(os.Args[0])); ok {
		os.Exit(Main(os.Args))
	}
	os.Exit(m.Run())
}

// layBin makes a directory with a link to the toolbox for each applet.
func layBin(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range Names() {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// scripts give the same output, exit status and files in every POSIX shell with GNU
// utilities. They are separated by lines of dashes.
const scripts = `
echo hello; echo "a  b" 'c  d' e\ f; printf '%s\n' "$@"
---
set -e; echo before; false; echo not reached
---
set -e; if false; then echo no; fi; false || echo or; ! true; echo end
---
f() { echo "in f: $1 $#"; return 3; }; f a b; echo "status $?"
---
x=1; (x=2; echo $x); echo $x; y=$(echo sub; exit 4); echo "$y $?"
---
for i in 1 2 3; do case $i in 2) continue;; esac; echo $i; done
i=0; while [ $i -lt 3 ]; do i=$((i+1)); [ $i = 2 ] && break; done; echo $i
until [ $i -ge 5 ]; do i=$((i+1)); done; echo $i
---
cat <<EOF
value: $HOME $((2 + 3 * 4)) $(echo cmd)
EOF
cat <<'EOF'
literal $HOME
EOF
cat <<-EOF
	tabs gone
	EOF
---
x=hello.tar.gz; echo ${x%.gz} ${x%%.*} ${x#*.} ${x##*.} ${#x}
echo ${unset:-default} ${unset-d2} ${x:+set}; : ${new:=assigned}; echo $new
---
echo one | tr a-z A-Z | { read line; echo "got $line"; }
printf 'a b\nc d\n' | while read first second; do echo "$second $first"; done
---
trap 'echo cleanup' EXIT; echo working; exit 5
---
trap 'echo got TERM; exit 7' TERM; kill -TERM $$; sleep 5; echo not reached
---
trap 'rm -f tmpfile' EXIT INT TERM HUP; echo x > tmpfile; cat tmpfile
---
echo out; echo err >&2; { echo both; echo botherr >&2; } 2>&1; echo gone > /dev/null
---
echo a > f; echo b >> f; cat < f; wc -l < f; exec > g; echo to g; cat f >&2
---
mkdir -p a/b/c d; touch a/b/c/file a/x; cp -r a d/; mv d/a/x d/y; rm -r a/b; ln -s ../d a/link; find . | sort; ls a d
---
printf '#!/bin/sh\necho script $0 $1\nexit 9\n' > s.sh; chmod +x s.sh; ./s.sh arg; echo $?; sh s.sh two; echo $?
---
echo 'sourced=yes; fn() { echo fn $sourced; }' > lib; . ./lib; fn; echo $sourced
---
nosuchcommand; echo $?; ./missing; echo $?; touch plain; ./plain; echo $?
---
(sleep 0; echo bg > bgout) & wait; cat bgout; (exit 6) & wait $!; echo $?
---
(set -u; echo ${x:-ok}; echo $undefined_variable; echo not reached) || echo failed
---
false | true; echo $?; true | false; echo $?
---
a='x y'; set -- $a; echo $#; set -- "$a" z; echo $# "$1"; shift; echo "$*"; IFS=:; b=1:2:3; set -- $b; echo $3 "$*"
---
case foo.c in *.h) echo h;; *.[ch]|x) echo c;; *) echo other;; esac
---
touch b1 b2 c1; echo b* [bc]1 'b*' nomatch*; for f in *; do echo "<$f>"; done
---
eval 'echo evaluated; z=3'; echo $z; command -v echo >/dev/null && echo yes; type nosuch >/dev/null 2>&1 || echo no
---
echo "quote\"d \$x \\ \` + "`date -u -d @0 +%Y`" + `"; echo 'single '"'"' quote'; echo "$(echo "nested $(echo deep)")"
---
n=5; echo $((n * 2)) $((n > 3 && n < 10)) $((0x10 + 010)) $((7 % 3)) $((-7 / 2)); echo $(( (1 << 4) | 1 ))
---
while getopts ab:c opt -a -b val -c rest; do echo "$opt $OPTARG"; done; echo $OPTIND
---
export E=exported; L=local; sh -c 'echo "$E" "[$L]"'; V=temp sh -c 'echo $V'; echo "[$V]"; env | grep '^E='
---
x=abc; echo "${x}def" ${x}${x}; readonly r=1; echo $r; unset x; echo "[$x]"
---
cd /; pwd; cd /usr/bin/..; pwd; cd - >/dev/null; cd "$OLDPWD"; pwd
---
umask 027; umask; touch u; stat -c %a u; mkdir ud; stat -c %a ud; umask 22; touch v; stat -c %a v
---
if test -f nofile; then echo f; elif [ -d . ]; then echo d; else echo e; fi; [ a \< b ] 2>/dev/null; [ 3 -gt 2 -a 1 -eq 1 ]; echo $?
---
{ echo 1; exit 3; } | cat; echo "pipe $?"; (exit 2); echo $?
---
seq 1 100 | head -n 3; yes | head -n 2; seq 100000 | tail -n 1
---
printf 'b\na\n' > in; sort in -o in; cat in; tee copy < in | wc -l; cmp in copy && echo same
---
echo hello | gzip -c | gunzip -c; echo data > z; gzip z; ls z*; zcat z.gz; gunzip z.gz; cat z
---
mkdir t; echo 1 > t/a; ln -s a t/l; mkdir t/d; echo 2 > t/d/b; chmod 750 t/d; tar cf t.tar t; tar tf t.tar | sort; mkdir x; tar xf t.tar -C x; find x | sort; readlink x/t/l; stat -c %a x/t/d
---
mkdir t; echo 1 > t/a; tar czf t.tgz -C t .; mkdir x; tar xzf t.tgz -C x; cat x/a; tar xzf t.tgz -O ./a; tar tzf t.tgz
---
mkdir -p t/u/v; echo 1 > t/u/v/w; tar cf - t | tar xf - --strip-components=2 ; find v; tar cf a.tar --exclude='*.o' t; tar tf a.tar
---
find / -maxdepth 0 -print0 | xargs -0 -n 1 echo got; printf 'a b\n"c d" e\n' | xargs -n 1 echo; echo 1 2 3 | xargs -I{} echo "<{}>"
---
mkdir p; touch p/a.c p/b.c p/d.h; find p -name '*.c' -exec echo found {} \; | sort; find p -name '*.c' -exec echo {} + | wc -l; find p \( -name a.c -o -name d.h \) -print | sort; find p -name '*.h' -delete; ls p; find p -type f ! -name a.c; find . -path './p/*' -prune -o -print | sort
---
echo "k: v" > y; sed -i 's/v/w/' y; cat y; sed -i.bak s/w/x/ y; cat y y.bak; sed -n '/k/w out' y; cat out
---
awk 'BEGIN { x = 3; print x * 2 }'; printf '1 2\n3 4\n' | awk '{ s += $2 } END { print s, NR }'; echo a:b | awk -F: '{ print $2 }'; awk -v n=5 'BEGIN { printf "%03d\n", n }'
---
timeout 0.1 sleep 5; echo $?; timeout 500 echo fast; echo $?; timeout 500 sh -c 'exit 3'; echo $?
---
d=$(mktemp -d ./tmp.XXXXXX); test -d "$d" && echo dir; f=$(mktemp ./f.XXXXXX); stat -c %a "$f"; rm -r "$d" "$f"
---
install -d -m 750 i/j; stat -c %a i/j; echo prog > pr; install -m 755 pr i/j/; stat -c %a i/j/pr; install -D pr k/l/m; cat k/l/m
---
echo abc > f; chmod 640 f; stat -c %a f; chmod u+x,g-r,o=r f; stat -c %a f; chmod a+X f; stat -c %a f; chmod -x f; stat -c %a f; chmod g=u f; stat -c %a f
---
echo data > o; ln o hard; stat -c %h o; ln -s o soft; readlink soft; cp -P soft soft2; readlink soft2; cp soft deref; test -L deref || echo file; ln -sf hard soft; readlink soft; cp -a soft soft3; readlink soft3
---
touch -d @1000000000 f; stat -c %Y f; cp -p f g; stat -c %Y g; touch -r f h; stat -c %Y h; touch -t 200001020304.05 i; date -u -r i +%F_%T; touch -c nothere; ls nothere
---
cp nofile x; echo $?; mkdir d; cp d e; echo $?; rm d; echo $?; rmdir d; echo $?; rm -f nofile; echo $?; mv nofile x; echo $?; mkdir x/y/z; echo $?; ln -s t l; ln -s t l; echo $?
---
truncate -s 10 f; stat -c %s f; truncate -s +5 f; stat -c %s f; dd if=f of=g bs=4 count=2 2>/dev/null; stat -c %s g; split -l 2 - pre <<X
1
2
3
X
ls pre*; cat preab
---
echo '#!/bin/sh' > a; echo 'echo $#; for x; do echo "[$x]"; done' >> a; sh a "one two" three; set -- 1 2; sh a "$@"
---
x='*'; echo "$x" | cat; a=$(printf 'x\n\n\n'); echo "[$a]"; echo ` + "`echo back \\`echo tick\\``" + `
---
sh -c 'echo $0 $1' name arg; sh -ec 'false; echo no'; echo $?; echo 'echo from stdin; exit 2' | sh; echo $?; sh -c 'kill -9 $$'; echo $?
---
sh -c 'if then'; test $? -ne 0 && echo syntax error noticed
---
f() { local v=1; v=2; echo $v; }; v=0; f; echo $v; g() { g2() { echo inner; }; g2; }; g; g2
---
sha256sum f 2>/dev/null || echo missing; echo x > f; sha256sum f > sums; sha256sum -c sums; echo y > f; sha256sum -c sums 2>/dev/null; echo $?
---
printf '%s\n' a b c | tac | paste -sd, ; echo 'a,b' | tr , '\n' | nl; printf 'x%.0s' 1 2 3; echo; printf '%b' 'a\tb\n'; printf '%d %s\n' 1; printf '%5.2f|%-6d|%+d\n' 2.345 42 7
---
echo 10 | { read n; test "$n" -eq 10 && echo ten; }; read a b <<X
1 2 3
X
echo "$a/$b"; IFS=, read p q <<X
l,m
X
echo $p$q
---
echo lost 2>/dev/null > /dev/full; echo "status $?"; printf lost 2>/dev/null > /dev/full; echo "status $?"; set -e; echo lost > /dev/full; echo not reached
---
diff - <<A /dev/null
line
A
echo $?; basename $PWD >/dev/null; dirname /x/y; expr 2 + 3; expr abc : 'a\(.\)c'; seq -s ' ' 3
`

// outcome is what a script printed, its exit status, and the files it left.
func outcome(t *testing.T, shell, path, script string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := osexec.Command(shell, "-c", script)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout = dir, &out
	cmd.Env = []string{"PATH=" + path, "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC"}
	var ended *osexec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	tree := osexec.Command("find", ".", "-printf", `%p %y %m %l\n`)
	tree.Dir = dir
	list, err := tree.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(list), "\n")
	for i := range lines { // sizes of compressed files differ, so only names count
		for j := i; j > 0 && lines[j] < lines[j-1]; j-- {
			lines[j], lines[j-1] = lines[j-1], lines[j]
		}
	}
	text := strings.ReplaceAll(out.String(), dir, "$DIR")
	return text + "\nexit " + cmd.ProcessState.String() + "\n" + strings.Join(lines, "")
}

func TestScriptsAgainstShell(t *testing.T) {
	if version, err := osexec.Command("find", "--version").Output(); err != nil || !strings.Contains(string(version), "GNU") {
		t.Skip("the utilities installed here are not GNU's")
	}
	if _, err := os.Stat("/bin/dash"); err != nil {
		t.Skip("there is no dash to compare with")
	}
	bin := layBin(t)
	for script := range strings.SplitSeq(strings.TrimSpace(scripts), "\n---\n") {
		name, _, _ := strings.Cut(script, "\n")
		t.Run(name[:min(50, len(name))], func(t *testing.T) {
			t.Parallel()
			want := outcome(t, "/bin/dash", os.Getenv("PATH"), script)
			got := outcome(t, filepath.Join(bin, "sh"), bin, script)
			if got != want {
				t.Errorf("script:\n%s\ngot:\n%s\nwant:\n%s", script, got, want)
			}
		})
	}
}
