package testenv

import (
	"net"
	osexec "os/exec"
	"testing"
)

func TestRequired(t *testing.T) {
	t.Setenv("KILN_TEST_REQUIRE", "one,two")
	if !Required("one") || !Required("two") || Required("three") || Required("on") {
		t.Error("one and two are required, no others")
	}
}

// TestTakePort: a port that is taken is given to nobody else, neither while a server that
// listens on it is there nor while it is away.
func TestTakePort(t *testing.T) {
	p, err := TakePort()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takePort(p.number); err == nil {
		t.Error("it was taken twice")
	}
	l, err := net.Listen("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := takePort(p.number); err == nil {
		t.Error("it was taken from who listens on it")
	}
}

// TestServe: a server that has been killed finds its port as it was, whatever others take.
func TestServe(t *testing.T) {
	bin := Tool(t, "python3", "apt-get install python3")
	s, err := Serve("/", func(addr string) *osexec.Cmd {
		host, port, _ := net.SplitHostPort(addr)
		cmd := osexec.Command(bin, "-m", "http.server", "--bind", host, port)
		cmd.Dir = t.TempDir()
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	s.Kill()
	if _, err := takePort(s.port.number); err == nil {
		t.Error("another test could take the port")
	}
	s.Restart(t)
}
