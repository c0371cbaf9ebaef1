package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/exec/container/enter"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// A packRequest asks the packer to make a ware of what lies at a path.
type packRequest struct {
	ID                int64
	Path              []byte // absolute, below the warehouse; a path need not be UTF-8
	Packtype, Filters string
	Exclude           []string
	Adopt             bool // take it from where it lies; else copy it
}

type packReply struct {
	ID     int64
	Record warehouse.Record
	Err    string `json:",omitempty"`
}

const (
	kindPack wire.Kind = 100 + iota
	kindPackReply
)

// Where the packer finds its socket and its executable, which is the executor's.
const (
	packerFD  = enter.FirstFD
	packerExe = "/proc/self/fd/6"
)

// A packer is the sibling container that packs outputs.
type packer struct {
	box     *container
	conn    *wire.Conn
	mu      sync.Mutex
	next    int64
	waiting map[int64]chan packReply
	gone    error // set when the packer has ended
}

// startPacker makes the packer's container: it sees the warehouse and nothing else.
func startPacker(enterExe *os.File, filter []byte) (*packer, error) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("packer: %w", err)
	}
	defer exe.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make packer socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "packer"), os.NewFile(uintptr(pair[1]), "packer")
	defer theirs.Close()
	var mounts []specs.Mount
	for _, dir := range []string{warehouseDir, jobsDir} { // the jobs' trees, to copy what shows through from a ware
		mounts = append(mounts, specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: []string{"rbind", "rslave", "nosuid", "nodev"}})
	}
	config, err := containerConfig(packerRoot, deviceDir, limits{}, mounts...)
	if err != nil {
		return nil, fmt.Errorf("packer: %w", err)
	}
	box, err := create("packer", config, enterExe, streams{stdout: os.Stderr, stderr: os.Stderr, extra: []*os.File{theirs, exe}})
	if err != nil {
		return nil, fmt.Errorf("packer: %w", err)
	}
	err = box.become(enter.Message{Filter: filter, Cwd: "/", Args: []string{packerExe, "packer"}})
	if err != nil {
		box.abandon()
		return nil, fmt.Errorf("packer: %w", err)
	}
	p := &packer{box: box, conn: wire.NewConn(ours), waiting: map[int64]chan packReply{}}
	go p.receive()
	return p, nil
}

func (p *packer) receive() {
	for {
		frame, err := p.conn.Receive()
		var reply packReply
		if err == nil {
			err = frame.Decode(&reply)
		}
		p.mu.Lock()
		if err != nil {
			p.gone = p.ended(err)
			for _, w := range p.waiting {
				close(w)
			}
			p.waiting = nil
			p.mu.Unlock()
			return
		}
		w := p.waiting[reply.ID]
		delete(p.waiting, reply.ID)
		p.mu.Unlock()
		w <- reply
	}
}

// ended says why the packer did not answer.
func (p *packer) ended(err error) error {
	p.box.lc.Signal(unix.SIGKILL)
	if state, _ := p.box.wait(); state != nil {
		return fmt.Errorf("the packer ended: %s", state)
	}
	return fmt.Errorf("the packer ended: %w", err)
}

// pack has the packer make a ware. It is safe for concurrent use.
func (p *packer) pack(r packRequest) (warehouse.Record, error) {
	p.mu.Lock()
	if p.gone != nil {
		p.mu.Unlock()
		return warehouse.Record{}, p.gone
	}
	p.next++
	r.ID = p.next
	reply := make(chan packReply, 1)
	p.waiting[r.ID] = reply
	p.mu.Unlock()
	if err := p.conn.Send(kindPack, r); err != nil {
		return warehouse.Record{}, fmt.Errorf("ask the packer: %w", err)
	}
	got, ok := <-reply
	if !ok {
		return warehouse.Record{}, p.gone
	}
	if got.Err != "" {
		return warehouse.Record{}, errors.New(got.Err)
	}
	return got.Record, nil
}

// ServePacker is the packer's side: it packs what it is asked to until its socket
// closes, and returns the process's exit code.
func ServePacker() int {
	conn := wire.NewConn(os.NewFile(packerFD, "executor"))
	local, err := warehouse.OpenLocal(warehouseDir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "packer:", err)
		return 1
	}
	for {
		frame, err := conn.Receive()
		if err != nil {
			return 0
		}
		go func() {
			var r packRequest
			reply := packReply{}
			err := frame.Decode(&r)
			if err == nil {
				reply.Record, err = packOne(local, r)
			}
			reply.ID = r.ID
			if err != nil {
				reply.Err = err.Error()
			}
			conn.Send(kindPackReply, reply)
		}()
	}
}

func packOne(local *warehouse.Local, r packRequest) (warehouse.Record, error) {
	filters, err := pack.ParseFilters(r.Filters)
	if err != nil {
		return warehouse.Record{}, err
	}
	o := pack.Options{Packtype: r.Packtype, Filters: filters, Exclude: r.Exclude}
	if r.Adopt {
		return pack.Adopt(context.Background(), local, string(r.Path), o)
	}
	return pack.Ingest(context.Background(), local, string(r.Path), o)
}
