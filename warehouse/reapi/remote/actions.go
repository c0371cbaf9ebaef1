package remote

import "github.com/kilnbuild/kiln/warehouse/reapi/grpc"

// GetActionResultRequest asks for what an action gave.
type GetActionResultRequest struct {
	Instance          string
	Action            Digest
	InlineStdout      bool
	InlineStderr      bool
	InlineOutputFiles []string
	Function          DigestFunction
}

func (m *GetActionResultRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Instance)
	value(f, 2, &m.Action)
	f.Bool(3, &m.InlineStdout)
	f.Bool(4, &m.InlineStderr)
	f.Strings(5, &m.InlineOutputFiles)
	grpc.Enum(f, 6, &m.Function)
}

// UpdateActionResultRequest keeps what an action gave.
type UpdateActionResultRequest struct {
	Instance string
	Action   Digest
	Result   []byte // an ActionResult
	Function DigestFunction
}

func (m *UpdateActionResultRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Instance)
	value(f, 2, &m.Action)
	f.Bytes(3, &m.Result)
	grpc.Enum(f, 5, &m.Function)
}

// Raw is a message that is kept as it is encoded, such as an ActionResult that a
// server passes on.
type Raw []byte

// Fields writes nothing field by field: package grpc takes the bytes as they are.
func (m *Raw) Fields(f *grpc.Fields) { f.Whole((*[]byte)(m)) }

// An ActionResult is what an action gave, as far as a cache need know: what it
// refers to, and what kiln puts in. Symlinks and metadata are left out.
type ActionResult struct {
	Files        []OutputFile
	Directories  []OutputDirectory
	ExitCode     int32
	Stdout       []byte
	StdoutDigest *Digest
	Stderr       []byte
	StderrDigest *Digest
}

func (m *ActionResult) Fields(f *grpc.Fields) {
	grpc.Subs(f, 2, &m.Files)
	grpc.Subs(f, 3, &m.Directories)
	f.Int32(4, &m.ExitCode)
	f.Bytes(5, &m.Stdout)
	grpc.Sub(f, 6, &m.StdoutDigest)
	f.Bytes(7, &m.Stderr)
	grpc.Sub(f, 8, &m.StderrDigest)
}

// An OutputFile is a file that an action made.
type OutputFile struct {
	Path       string
	Digest     *Digest
	Executable bool
	Contents   []byte
}

func (m *OutputFile) Fields(f *grpc.Fields) {
	f.String(1, &m.Path)
	grpc.Sub(f, 2, &m.Digest)
	f.Bool(4, &m.Executable)
	f.Bytes(5, &m.Contents)
}

// An OutputDirectory is a directory that an action made.
type OutputDirectory struct {
	Path string
	Tree *Digest // of a Tree message
	Root *Digest // of a Directory message
}

func (m *OutputDirectory) Fields(f *grpc.Fields) {
	f.String(1, &m.Path)
	grpc.Sub(f, 3, &m.Tree)
	grpc.Sub(f, 5, &m.Root)
}

// A Tree has all Directory messages of a tree.
type Tree struct {
	Root     []byte
	Children [][]byte
}

func (m *Tree) Fields(f *grpc.Fields) {
	f.Bytes(1, &m.Root)
	f.ByteSlices(2, &m.Children)
}

// A Directory has what a cache need know of one: to which contents it refers.
type Directory struct {
	Files       []Node
	Directories []Node
}

// A Node is a file or a directory in a Directory.
type Node struct {
	Name   string
	Digest *Digest
}

func (m *Directory) Fields(f *grpc.Fields) {
	grpc.Subs(f, 1, &m.Files)
	grpc.Subs(f, 2, &m.Directories)
}

func (m *Node) Fields(f *grpc.Fields) {
	f.String(1, &m.Name)
	grpc.Sub(f, 2, &m.Digest)
}

// An Action is what is done; its digest names its result.
type Action struct {
	Command   *Digest
	InputRoot *Digest
	Salt      []byte
}

func (m *Action) Fields(f *grpc.Fields) {
	grpc.Sub(f, 1, &m.Command)
	grpc.Sub(f, 2, &m.InputRoot)
	f.Bytes(9, &m.Salt)
}

// A Command is how.
type Command struct{ Arguments []string }

func (m *Command) Fields(f *grpc.Fields) { f.Strings(1, &m.Arguments) }
