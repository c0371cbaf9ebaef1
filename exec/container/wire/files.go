package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Files travel on a socket of their own, of kind SOCK_SEQPACKET: a packet for each
// job that has any, in the order of their Prepares.

// MaxFiles is how many files a job may come with.
const MaxFiles = 16

// SendFiles sends a job's files. They stay open here.
func SendFiles(socket *os.File, job int64, files []*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	packet := binary.LittleEndian.AppendUint64(nil, uint64(job))
	err := unix.Sendmsg(int(socket.Fd()), packet, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	return os.NewSyscallError("sendmsg", err)
}

// ReceiveFiles receives the files of a job, of which there are n.
func ReceiveFiles(socket *os.File, job int64, n int) ([]*os.File, error) {
	packet, oob := make([]byte, 8), make([]byte, unix.CmsgSpace(4*MaxFiles))
	size, oobSize, _, _, err := unix.Recvmsg(int(socket.Fd()), packet, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(oob[:oobSize])
	for _, m := range messages {
		fds, rightsErr := unix.ParseUnixRights(&m)
		err = errors.Join(err, rightsErr)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	if err == nil && (size != len(packet) || int64(binary.LittleEndian.Uint64(packet)) != job || len(files) != n) {
		err = fmt.Errorf("files of job %d: %d of %d came", job, len(files), n)
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, err
	}
	return files, nil
}
