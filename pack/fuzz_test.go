package pack

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// FuzzDirectory reads whatever comes as a Directory message. What is taken has names
// that a directory can have, and written again it says the same.
func FuzzDirectory(f *testing.F) {
	nodes := []node{
		{name: "dir", meta: meta{kind: KindDir, mode: 0o755}, digest: emptyDigest},
		{name: "file", meta: meta{kind: KindFile, mode: 0o644, uid: 1, gid: 2, sec: 3, nsec: 4}, digest: emptyDigest},
		{name: "caf\xe9", meta: meta{kind: KindSymlink, mode: 0o777, link: "\xff", sec: defaultTime}},
		{name: "null", meta: meta{kind: KindChar, mode: 0o666, major: 1, minor: 3, sec: -1}, digest: emptyDigest},
	}
	f.Add(directoryMessage(nil, &meta{kind: KindDir, mode: 0o1777, uid: 5}, nodes))
	f.Add(fileRootMessage(nil, &nodes[1]))
	f.Fuzz(func(t *testing.T, msg []byte) {
		m, nodes, err := decodeDirectory(msg)
		if err != nil {
			return
		}
		for _, n := range nodes {
			if n.name == "" || n.name == "." || n.name == ".." || strings.ContainsAny(n.name, "/\x00") {
				t.Errorf("name %q", n.name)
			}
		}
		again, below, err := decodeDirectory(directoryMessage(nil, &m, nodes))
		sortNodes(nodes)
		sortNodes(below)
		if err != nil || again != m || !reflect.DeepEqual(nodes, below) {
			t.Errorf("%+v %+v\nbecame %+v %+v, %v", m, nodes, again, below, err)
		}
	})
}

// FuzzPatterns: what a pattern matches it also leads to, and neither depends on how the
// pattern is written.
func FuzzPatterns(f *testing.F) {
	for _, p := range []string{"a/b/c", "**/x", "lib{,64}/*.so", "[a-c]/?", "x/{a/b,c}/d", `\*`, "./a//b/", "a/**"} {
		f.Add(p, "a/b/c")
		f.Add(p, "lib64/x.so")
		f.Add(p, "x/a/b/d")
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 60 || len(path) > 60 {
			t.Skip("long ones only take longer")
		}
		m, err := newMatcher([]string{pattern}, nil)
		if err != nil {
			return
		}
		parts := strings.Split(path, "/")
		for _, part := range parts {
			if part == "" || part == "." || part == ".." {
				t.Skip("no path of an entry")
			}
		}
		if take, _ := m.take(path, false, false); !take {
			return
		}
		covered := false
		for i := 1; i < len(parts); i++ {
			take, maybe := m.take(strings.Join(parts[:i], "/"), true, covered)
			if !take {
				t.Fatalf("%q matches %q and not its directory %q", pattern, path, strings.Join(parts[:i], "/"))
			}
			covered = covered || !maybe
		}
	})
}

// FuzzDirs splits whatever comes into Directory messages.
func FuzzDirs(f *testing.F) {
	msg := directoryMessage(nil, &meta{kind: KindDir, mode: 0o755}, nil)
	f.Add(append([]byte{byte(len(msg))}, msg...))
	f.Fuzz(func(t *testing.T, data []byte) {
		root, dirs, err := indexDirs(data)
		if err == nil && len(data) > 0 && !bytes.HasSuffix(data, dirs[root]) {
			t.Errorf("root %s is not the last message", root)
		}
	})
}
