package serve

import (
	"io"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// incoming is what a client writes, as an io.Reader. A message is received only when
// all before it has been read.
type incoming struct {
	call  *grpc.ServerCall
	first *remote.WriteRequest
	begun bool
	data  []byte
	got   int64 // offset behind data
	last  bool  // data is the last
	early bool  // the client went away before it was done
	err   error // why there is no more
}

func (in *incoming) Read(p []byte) (int, error) {
	for len(in.data) == 0 {
		if in.err == nil && in.last {
			in.err = io.EOF
		}
		if in.err == nil {
			in.err = in.next()
		}
		if in.err != nil {
			return 0, in.err
		}
	}
	n := copy(p, in.data)
	in.data = in.data[n:]
	return n, nil
}

// WriteTo saves a copy.
func (in *incoming) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for {
		k, err := w.Write(in.data)
		n += int64(k)
		in.data = in.data[k:]
		if err != nil {
			return n, err
		}
		if in.last {
			return n, nil
		}
		if in.err = in.next(); in.err != nil {
			return n, in.err
		}
	}
}

// next receives a message.
func (in *incoming) next() error {
	r := in.first
	if in.begun {
		r = new(remote.WriteRequest)
		if err := in.call.Receive(r); err == io.EOF {
			in.early = true
			return grpc.Errorf(grpc.InvalidArgument, "the upload ends after %d bytes without finish_write", in.got)
		} else if err != nil {
			in.early = true
			return err
		}
	}
	in.begun = true
	if r.Resource != "" && r.Resource != in.first.Resource {
		return grpc.Errorf(grpc.InvalidArgument, "resource %.300q in the middle of an upload of another", r.Resource)
	}
	if r.Offset != in.got {
		return grpc.Errorf(grpc.InvalidArgument, "write offset %d: this server has %d bytes", r.Offset, in.got)
	}
	in.data, in.last = r.Data, r.Finish
	in.got += int64(len(r.Data))
	return nil
}
