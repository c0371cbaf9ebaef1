package toolbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// cmp compares two files byte by byte: cmp [-s] [-l] FILE1 FILE2.
func cmpApplet(p *proc, args []string) error {
	opts, files, err := p.options(args, "sl", "quiet=s silent=s verbose=l")
	if err != nil {
		return err
	}
	if len(files) != 2 {
		return errors.New("want two files")
	}
	var data [2][]byte
	for i, name := range files {
		f, err := p.open(name)
		if err != nil {
			return err
		}
		data[i], err = io.ReadAll(f)
		f.Close()
		if err != nil {
			return about(name, err)
		}
	}
	a, b := data[0], data[1]
	differ := false
	line := 1
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			differ = true
			if !opts.has('l') {
				if !opts.has('s') {
					fmt.Fprintf(p.out, "%s %s differ: byte %d, line %d\n", files[0], files[1], i+1, line)
				}
				return exit(1)
			}
			fmt.Fprintf(p.out, "%d %3o %3o\n", i+1, a[i], b[i])
		}
		if a[i] == '\n' {
			line++
		}
	}
	if len(a) != len(b) {
		shorter := files[0]
		if len(b) < len(a) {
			shorter = files[1]
		}
		if !opts.has('s') {
			p.complain(fmt.Errorf("EOF on %s after byte %d", shorter, min(len(a), len(b))))
		}
		return exit(1)
	}
	if differ {
		return exit(1)
	}
	return nil
}

// diff compares files, or directories with -r: diff [-uqrNabwBis] [-U N] FILE1 FILE2.
func diff(p *proc, args []string) error {
	opts, names, err := p.options(args, "uU:qrNabwisL:", "unified=U brief=q recursive=r new-file=N text=a ignore-space-change=b ignore-all-space=w ignore-case=i report-identical-files=s label=L")
	if err != nil {
		return err
	}
	if len(names) != 2 {
		return errors.New("want two files")
	}
	d := &differ{p: p, opts: opts, context: -1}
	if opts.last("uU") != 0 {
		if d.context, err = strconv.Atoi(opts.value('U', "3")); err != nil {
			return err
		}
	}
	if err := d.pair(names[0], names[1], true); err != nil {
		return err
	}
	if d.differ && p.status == 0 {
		return exit(1)
	}
	return nil
}

type differ struct {
	p       *proc
	opts    options
	context int // lines around a change in unified form; -1: the normal form
	differ  bool
}

func (d *differ) pair(a, b string, top bool) error {
	fa, errA := d.stat(a)
	fb, errB := d.stat(b)
	if errA == nil && errB == nil && fa != nil && fb != nil {
		switch {
		case fa.IsDir() && fb.IsDir():
			return d.dirs(a, b, top)
		case top && fa.IsDir():
			a = strings.TrimSuffix(a, "/") + b[strings.LastIndexByte("/"+b, '/'):]
		case top && fb.IsDir():
			b = strings.TrimSuffix(b, "/") + "/" + a[strings.LastIndexByte("/"+a, '/'):]
		case fa.IsDir() != fb.IsDir():
			fmt.Fprintf(d.p.out, "File %s and file %s are of different kinds\n", a, b)
			d.differ = true
			return nil
		}
	}
	ta, err := d.read(a, errA)
	if err != nil {
		return err
	}
	tb, err := d.read(b, errB)
	if err != nil {
		return err
	}
	return d.files(a, b, ta, tb, top)
}

func (d *differ) stat(name string) (os.FileInfo, error) {
	if name == "-" {
		return nil, nil
	}
	return os.Stat(d.p.path(name))
}

func (d *differ) read(name string, statErr error) ([]byte, error) {
	if os.IsNotExist(statErr) && d.opts.has('N') {
		return nil, nil
	}
	f, err := d.p.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	return data, about(name, err)
}

func (d *differ) dirs(a, b string, top bool) error {
	if !top && !d.opts.has('r') {
		fmt.Fprintf(d.p.out, "Common subdirectories: %s and %s\n", a, b)
		return nil
	}
	in := map[string]int{}
	for i, dir := range []string{a, b} {
		entries, err := os.ReadDir(d.p.path(dir))
		if err != nil {
			return about(dir, err)
		}
		for _, e := range entries {
			in[e.Name()] |= i + 1
		}
	}
	var names []string
	for name := range in {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if only := in[name]; only != 3 && !d.opts.has('N') {
			fmt.Fprintf(d.p.out, "Only in %s: %s\n", []string{a, b}[only-1], name)
			d.differ = true
			continue
		}
		if err := d.pair(a+"/"+name, b+"/"+name, false); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) files(a, b string, ta, tb []byte, top bool) error {
	la, lb := splitLines(ta), splitLines(tb)
	changes := lineDiff(la, lb, d.equal)
	if len(changes) == 0 {
		if d.opts.has('s') {
			fmt.Fprintf(d.p.out, "Files %s and %s are identical\n", a, b)
		}
		return nil
	}
	d.differ = true
	binary := bytes.IndexByte(ta, 0) >= 0 || bytes.IndexByte(tb, 0) >= 0
	if d.opts.has('q') || binary && !d.opts.has('a') {
		kind := "Files"
		if binary && !d.opts.has('q') {
			kind = "Binary files"
		}
		fmt.Fprintf(d.p.out, "%s %s and %s differ\n", kind, a, b)
		return nil
	}
	if !top {
		flags := ""
		for _, o := range d.opts {
			flags += " -" + string(o.flag) + o.value
		}
		fmt.Fprintf(d.p.out, "diff%s %s %s\n", flags, a, b)
	}
	if d.context >= 0 {
		labels := append(d.opts.all('L'), []string{a + d.stamp(a), b + d.stamp(b)}[min(2, len(d.opts.all('L'))):]...)
		fmt.Fprintf(d.p.out, "--- %s\n+++ %s\n", labels[0], labels[1])
		d.unified(la, lb, changes)
		return nil
	}
	for _, c := range changes {
		d.normal(la, lb, c)
	}
	return nil
}

// stamp is the time that follows a name in a unified diff.
func (d *differ) stamp(name string) string {
	fi, err := d.stat(name)
	if err != nil || fi == nil {
		return "\t1970-01-01 00:00:00.000000000 +0000"
	}
	return fi.ModTime().Format("\t2006-01-02 15:04:05.000000000 -0700")
}

func (d *differ) equal(a, b string) bool {
	if a == b {
		return true
	}
	if d.opts.has('i') {
		a, b = strings.ToLower(a), strings.ToLower(b)
	}
	switch d.opts.last("bw") {
	case 'w':
		a, b = strings.Join(strings.Fields(a), ""), strings.Join(strings.Fields(b), "")
	case 'b':
		fold := func(s string) string {
			lead := ""
			if s != "" && (s[0] == ' ' || s[0] == '\t') {
				lead = " "
			}
			return lead + strings.Join(strings.Fields(s), " ")
		}
		a, b = fold(a), fold(b)
	}
	return a == b
}

func splitLines(data []byte) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		out = append(out, line)
	}
	return out
}

// A change replaces lines a[fromA:toA] by b[fromB:toB].
type change struct{ fromA, toA, fromB, toB int }

// lineDiff finds a shortest list of changes, after Myers, "An O(ND) Difference
// Algorithm and Its Variations" (1986), on what lies between common ends.
func lineDiff(a, b []string, equal func(a, b string) bool) []change {
	start := 0
	for start < len(a) && start < len(b) && equal(a[start], b[start]) {
		start++
	}
	endA, endB := len(a), len(b)
	for endA > start && endB > start && equal(a[endA-1], b[endB-1]) {
		endA--
		endB--
	}
	kept := myers(a[start:endA], b[start:endB], equal)
	var changes []change
	x, y := start, start
	for _, k := range append(kept, [2]int{endA - start, endB - start}) {
		i, j := k[0]+start, k[1]+start
		if x < i || y < j {
			changes = append(changes, change{x, i, y, j})
		}
		x, y = i+1, j+1
	}
	return changes
}

// myers returns the pairs of indexes of the lines that are kept.
func myers(a, b []string, equal func(a, b string) bool) [][2]int {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return nil
	}
	far := map[int]int{1: 0}
	var trace []map[int]int
	for d := 0; d <= maxEdits; d++ {
		step := make(map[int]int, 2*d+1)
		for k := -d; k <= d; k += 2 {
			x := 0
			if k == -d || k != d && far[k-1] < far[k+1] {
				x = far[k+1]
			} else {
				x = far[k-1] + 1
			}
			for x < n && x-k < m && equal(a[x], b[x-k]) {
				x++
			}
			step[k] = x
			if x >= n && x-k >= m {
				return backtrack(append(trace, step), n, m)
			}
		}
		trace = append(trace, step)
		for k, x := range step {
			far[k] = x
		}
	}
	return anchors(a, b)
}

// maxEdits bounds what myers keeps, which grows with the square of the edits; beyond
// it a list of changes need not be a shortest one.
const maxEdits = 1500

// anchors keeps the longest run of lines that each side has only once, in order.
func anchors(a, b []string) [][2]int {
	type place struct{ inA, inB, a, b int }
	places := map[string]*place{}
	for i, line := range a {
		if p := places[line]; p != nil {
			p.inA++
		} else {
			places[line] = &place{inA: 1, a: i}
		}
	}
	for j, line := range b {
		if p := places[line]; p != nil {
			p.inB++
			p.b = j
		}
	}
	var pairs [][2]int
	for i, line := range a {
		if p := places[line]; p.inA == 1 && p.inB == 1 {
			pairs = append(pairs, [2]int{i, p.b})
		}
	}
	// The longest increasing subsequence of the places in b.
	before := make([]int, len(pairs))
	var ends []int // by length: the pair with the lowest place that ends such a run
	for i, pair := range pairs {
		n, _ := slices.BinarySearchFunc(ends, pair[1], func(e, b int) int { return pairs[e][1] - b })
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		ends = append(ends[:n], append([]int{i}, ends[min(n+1, len(ends)):]...)...)
	}
	var kept [][2]int
	for i := len(ends) - 1; i >= 0 && len(kept) == 0; i-- {
		for e := ends[i]; e >= 0; e = before[e] {
			kept = append(kept, pairs[e])
		}
	}
	slices.Reverse(kept)
	return kept
}

// backtrack walks from the end to the start and collects the diagonals.
func backtrack(trace []map[int]int, x, y int) [][2]int {
	var kept [][2]int
	for d := len(trace) - 1; d > 0; d-- {
		k := x - y
		prev := trace[d-1]
		left, okLeft := prev[k-1]
		up, okUp := prev[k+1]
		prevK := k - 1
		if !okLeft || okUp && left < up {
			prevK = k + 1
		}
		prevX := prev[prevK]
		prevY := prevX - prevK
		for x > prevX && y > prevY && x > 0 && y > 0 && (x-1 >= prevX && y-1 >= prevY) {
			x--
			y--
			kept = append(kept, [2]int{x, y})
		}
		x, y = prevX, prevY
	}
	for x > 0 && y > 0 {
		x--
		y--
		kept = append(kept, [2]int{x, y})
	}
	slices.Reverse(kept)
	return kept
}

func (d *differ) side(mark string, text []string) {
	for _, line := range text {
		d.p.out.WriteString(mark + strings.TrimSuffix(line, "\n") + "\n")
		if !strings.HasSuffix(line, "\n") {
			d.p.out.WriteString("\\ No newline at end of file\n")
		}
	}
}

// normal prints a change as "2,3c4".
func (d *differ) normal(a, b []string, c change) {
	span := func(from, to int) string {
		switch to - from {
		case 0:
			return strconv.Itoa(from)
		case 1:
			return strconv.Itoa(to)
		}
		return fmt.Sprintf("%d,%d", from+1, to)
	}
	op := "c"
	if c.fromA == c.toA {
		op = "a"
	} else if c.fromB == c.toB {
		op = "d"
	}
	fmt.Fprintf(d.p.out, "%s%s%s\n", span(c.fromA, c.toA), op, span(c.fromB, c.toB))
	d.side("< ", a[c.fromA:c.toA])
	if op == "c" {
		d.p.out.WriteString("---\n")
	}
	d.side("> ", b[c.fromB:c.toB])
}

// unified prints hunks of changes that are within twice the context.
func (d *differ) unified(a, b []string, changes []change) {
	for i := 0; i < len(changes); {
		j := i + 1
		for j < len(changes) && changes[j].fromA-changes[j-1].toA <= 2*d.context {
			j++
		}
		first, last := changes[i], changes[j-1]
		fromA, fromB := max(0, first.fromA-d.context), max(0, first.fromB-d.context)
		toA, toB := min(len(a), last.toA+d.context), min(len(b), last.toB+d.context)
		fmt.Fprintf(d.p.out, "@@ -%s +%s @@\n", hunkSpan(fromA, toA), hunkSpan(fromB, toB))
		x := fromA
		for _, c := range changes[i:j] {
			d.side(" ", a[x:c.fromA])
			d.side("-", a[c.fromA:c.toA])
			d.side("+", b[c.fromB:c.toB])
			x = c.toA
		}
		d.side(" ", a[x:toA])
		i = j
	}
}

func hunkSpan(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return strconv.Itoa(to)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
