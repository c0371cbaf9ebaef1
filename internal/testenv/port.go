package testenv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// A Port is one of this machine's that no other test listens on, whoever runs it, until
// it is released or the process ends: not even while the server it is for is away.
type Port struct {
	number int
	taken  net.Listener // of a name of its own, which no two can have
}

// Ports are taken from below those that the kernel gives to whoever asks for any, and to
// what connects: ip(7), ip_local_port_range.
const (
	firstPort = 20_000
	ports     = 10_000
)

// TakePort takes a port that is free. The caller calls Release if it needs it no more.
func TakePort() (p *Port, err error) {
	for range 100 {
		if p, err = takePort(firstPort + rand.IntN(ports)); err == nil {
			return p, nil
		}
	}
	return nil, err
}

func takePort(number int) (*Port, error) {
	taken, err := net.Listen("unix", fmt.Sprintf("@kiln-test-port-%d", number))
	if err != nil {
		return nil, err
	}
	p := &Port{number, taken}
	l, err := net.Listen("tcp", p.Addr()) // others than tests may be there
	if err != nil {
		return nil, errors.Join(err, p.Release())
	}
	return p, l.Close()
}

// Addr returns HOST:PORT.
func (p *Port) Addr() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }

// Release lets others have the port.
func (p *Port) Release() error { return p.taken.Close() }
