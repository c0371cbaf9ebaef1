package toolbox

import (
	"bytes"
	"context"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runApplet runs an applet in dir and returns what it printed and its exit status.
func runApplet(t testing.TB, dir, stdin, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	p := &proc{
		ctx: context.Background(), name: name, dir: dir, environ: testEnv,
		stdin: stdinFile(t, stdin), stdout: &out, stderr: &errOut,
	}
	code = p.main(args)
	return out.String(), errOut.String(), code
}

func testEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/"}
}

func stdinFile(t testing.TB, text string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "stdin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// files are what every case finds in its directory.
var files = map[string]string{
	"fruit":    "banana\napple\ncherry\napple\n\nDate\nbanana split\n",
	"numbers":  "10\n9\n-3\n2.5\n1e3\n007\n\n2\n",
	"fields":   "a:1:x\nb:20:y\nc:3:z\nnodelim\nb:2:w\n",
	"spaces":   "  two  words \n\tTab\tbed\none\n",
	"noend":    "first\nlast without newline",
	"empty":    "",
	"sorted1":  "a\nb\nc\ne\n",
	"sorted2":  "b\nc\nd\nf\n",
	"text":     "The quick brown fox\njumps over the lazy dog.\n# comment\nfoo=bar\nfoo = baz\nTHE END\n",
	"sizes":    "1K\n3M\n20\n2G\n900\n1.5K\n",
	"versions": "v1.10\nv1.9\nv1.2.3\nv1.2\n1.0~rc1\n1.0\n",
	"bin":      "a\x00b\xff\x01\n\x7f end",
	"utf8":     "naïve ünïcode\n日本語 text\n",
	"conf":     "[a]\nkey=1\n\n[b]\nkey=2\nother=3\n",
}

func layFiles(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// gnuCases are command lines whose output and exit status must be those of the
// utility installed here. Fields are separated by spaces; 'x y' is one field.
const gnuCases = `
cat fruit noend
cat -n text
cat -A bin
cat -b spaces fruit
cat -s fruit
cat missing fruit
head -n 2 fruit
head -3 fruit
head -n -2 fruit
head -c 7 fruit
head -c -7 fruit
head -n 1 fruit text
head -q -n 1 fruit text
tail -n 2 fruit
tail -2 noend
tail -n +3 fruit
tail -c 5 fruit
tail -c +5 fruit
tail -n 1 fruit noend
tail -n 0 fruit
cut -d : -f 2 fields
cut -d : -f 1,3 fields
cut -d : -f 2- -s fields
cut -d: -f-2 fields
cut -c 2-4 fruit
cut -b 1,3 fruit
cut -d : -f 2 --complement fields
cut -d : --output-delimiter=/ -f 1,2 fields
sort fruit
sort -r fruit
sort -u fruit
sort -f fruit
sort -n numbers
sort -nr numbers
sort -t : -k 2n fields
sort -t : -k 2,2 -k 3r fields
sort -t: -k1,1 -s fields
sort -k 2 spaces
sort -b -k 1,1 spaces
sort -h sizes
sort -V versions
sort -c fruit
sort -c sorted1
sort sorted1 sorted2 -u
sort -k1.2,1.3 fruit
sort noend
uniq fruit
sort -n -u numbers
uniq -c sorted1
comm sorted1 sorted2
comm -12 sorted1 sorted2
comm -3 sorted1 sorted2
join sorted1 sorted2
join -v 1 sorted1 sorted2
paste sorted1 sorted2
paste -s -d , sorted1
paste -d : sorted1 sorted2 fruit
nl text
nl -ba -w3 -s. fruit
rev fruit
tac fruit
fold -w 7 text
fold -s -w 12 text
wc fruit text
wc -l fruit
wc -c noend
wc -w text
wc -m utf8
wc -L text
wc empty
seq 5
seq 2 2 9
seq 5 -2 1
seq -w 8 11
seq -s , 3
seq 0.5 0.25 1.5
seq 5 1
seq -f %03g 3
basename /a/b/c.txt .txt
basename /
basename a//
basename -a x/y z/w
dirname /a/b/c
dirname a
dirname /a
dirname a/b/
expr 1 + 2 * 3
expr ( 1 + 2 ) * 3
expr 7 / 2
expr 7 % 0
expr abc : 'a\(.*\)'
expr abc : b
expr length hello
expr substr hello 2 3
expr index hello lo
expr 3 < 20
expr b > a
expr 0 | 5
expr x & 0
grep apple fruit
grep -v a fruit
grep -i DATE fruit
grep -c a fruit
grep -n a fruit
grep -l a fruit text
grep -L banana fruit text
grep -o 'a[np]' fruit
grep -w banana fruit
grep -x banana fruit
grep -E '^(foo|bar)' text
grep -F . text
grep -e fox -e dog text
grep -A 1 fox text
grep -B 1 comment text
grep -C 1 dog text
grep -A1 -n foo text
grep -m 1 a fruit
grep -q apple fruit
grep -q nothing fruit
grep nothing fruit
grep a missing fruit
grep -s a missing
grep -h a fruit text
grep -H a fruit
grep -ho '[0-9]*' numbers
grep 'a\{1,2\}p' fruit
grep -E 'p{2}' fruit
grep 'x*' empty
grep -E 'a|^$' fruit
grep '[[:upper:]]' text
grep '^[^#]*=' text
grep -on an fruit
grep -c '' noend
grep b bin
grep -a b bin
grep -vc a fruit
grep -f sorted1 fruit
grep 'foo\( = \|=\)ba' text
grep -E '(a)(p+)l' fruit
grep -i -w the text
sed p sorted1
sed -n 2p fruit
sed 2d fruit
sed '2,4d' fruit
sed '$d' fruit
sed -n '$=' fruit
sed 's/a/X/' fruit
sed 's/a/X/g' fruit
sed 's/a/X/2' fruit
sed -n 's/a/X/p' fruit
sed 's/\(a\)\(p\)/\2\1/' fruit
sed -E 's/(a)(p+)/[\2\1]/' fruit
sed 's/[aeiou]/<&>/g' fruit
sed '/apple/,/cherry/d' fruit
sed '/apple/!d' fruit
sed -n '/b/{p;p}' fruit
sed 's|/|_|g;s,a,b,' text
sed y/abc/xyz/ fruit
sed '1i\top' fruit
sed '1a bottom' sorted1
sed '2c\changed' sorted1
sed '$a end' noend
sed -e 1d -e 's/b/B/' sorted1
sed 3q fruit
sed '2q5' fruit
sed -n '2{p;q}' fruit
sed 'N;s/\n/,/' sorted1
sed '$!N;P;D' fruit
sed ':a;N;$!ba;s/\n/ /g' fruit
sed G sorted1
sed -n '1!G;h;$p' sorted1
sed -n 'H;${x;s/\n/,/g;p}' sorted1
sed '/^$/d' fruit
sed '2~2d' fruit
sed '2,+1d' fruit
sed 's/x*/-/g' sorted1
sed = sorted1
sed -n l bin
sed 's/foo/a\nb/' text
sed 's/.*/\U&/' sorted1
sed -E 's/(^|_)([a-z])/\U\2/g' fruit
sed -s -n '$p' sorted1 sorted2
sed 0,/apple/d fruit
sed 2,1p sorted1
sed '/a/I,+1d' fruit
sed -n '/key/{s/.*=//;p}' conf
sed '/\[b\]/,/^\[/s/key=.*/key=9/' conf
sed 's/a\|e/_/g' sorted1
sed 's/\bfoo\b/X/' text
sed --expression=s/a/b/ sorted1
sed -n /a/,/c/p sorted1
sed 's/a/b/;ta;s/$/!/;:a' sorted1
sed x sorted1
sed -z 's/\n/;/g' sorted1
sed -n '2,4!p' fruit
sed '/b/b;s/^/-/' sorted1
sed 's/[/]/x/' text
sed 's#o#0#3' text
tr a-z A-Z < fruit
tr -d aeiou < fruit
tr -s a < fruit
tr -cd '[:alpha:]' < text
tr '[:lower:]' '[:upper:]' < text
tr -cs A-Za-z '\n' < text
tr abc x < fruit
tr -d '\n' < fruit
tr '\n' ' ' < fruit
tr a-c '[x*]' < fruit
tr -s '[:space:]' ' ' < spaces
tr -ds a p < fruit
sha256sum fruit text
sha1sum fruit
md5sum fruit
sha512sum empty
base64 fruit
base64 -w 10 fruit
od bin
od -c bin
od -A d -t x1 bin
od -An -tx1z bin
od -An -t u1 fruit
od -t x4 fruit
cmp fruit fruit
cmp fruit text
cmp -s fruit text
cmp sorted1 noend
diff sorted1 sorted2
diff -u --label a --label b sorted1 sorted2
diff -q sorted1 sorted2
diff fruit fruit
diff -U 1 --label a --label b fruit text
diff noend sorted1
diff -i text fruit
diff -w spaces spaces
env -i A=1 B=2 env
printf '%s %d\n' a 1 b 2
printf '%05.1f|%x|%c\n' 3.14159 255 hello
printf '%-5s|%5s|\n' ab cd
echo a b
echo -n a
echo -ne 'a\tb\0101\cd' e
echo -n -E 'a\tb'
echo -x a
echo -
echo
test -f fruit
test -d fruit
test 1 -lt 2
test a = b
[ -n x ]
[ -s empty ]
ls
ls -a
ls -1 fruit text
ls missing
ls -d .
find . -name 's*' -type f -maxdepth 1 -newer missing
stat -c '%n %s %a %F' fruit
du -b fruit
readlink -f fruit
xargs < fruit
xargs -n 2 echo < fields
xargs -I X echo [X] < sorted1
date -u -d @0 +%Y-%m-%dT%H:%M:%SZ
date -u -d @86400 '+%a %b %e %j %s %u'
date -u -d '2024-02-29 12:34:56' +%F_%T
uname -s
`

// splitCase splits a line of gnuCases into words and an input file.
func splitCase(line string) (args []string, stdin string) {
	for line != "" {
		line = strings.TrimLeft(line, " ")
		var word string
		if strings.HasPrefix(line, "'") {
			word, line, _ = strings.Cut(line[1:], "'")
		} else {
			word, line, _ = strings.Cut(line, " ")
		}
		args = append(args, word)
	}
	if n := len(args); n > 2 && args[n-2] == "<" {
		return args[:n-2], files[args[n-1]]
	}
	return args, ""
}

func TestAgainstGNU(t *testing.T) {
	version, err := osexec.Command("sort", "--version").Output()
	if err != nil || !strings.Contains(string(version), "GNU") {
		t.Skip("the utilities installed here are not GNU's")
	}
	dir := layFiles(t)
	for line := range strings.Lines(strings.TrimSpace(gnuCases)) {
		line = strings.TrimSuffix(line, "\n")
		t.Run(line, func(t *testing.T) {
			args, stdin := splitCase(line)
			path, err := osexec.LookPath(args[0])
			if err != nil {
				t.Skip(err)
			}
			cmd := osexec.Command(path, args[1:]...)
			var want bytes.Buffer
			cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout = dir, testEnv(), strings.NewReader(stdin), &want
			runErr := cmd.Run()
			if cmd.ProcessState == nil {
				t.Fatal(runErr)
			}
			got, stderr, code := runApplet(t, dir, stdin, args[0], args[1:]...)
			if got != want.String() {
				t.Errorf("got\n%s\nwant\n%s\nstderr: %s", got, want.String(), stderr)
			}
			if code != cmd.ProcessState.ExitCode() {
				t.Errorf("exit status %d, want %d; stderr: %s", code, cmd.ProcessState.ExitCode(), stderr)
			}
			if (code == 0) != (stderr == "") && !strings.Contains("grep cmp diff test [ expr sort sed", args[0]) {
				t.Errorf("exit status %d and stderr %q", code, stderr)
			}
		})
	}
}
