package formula

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Limits on what is read. They are far above what people write, and low enough
// that nothing in a file can exhaust the stack or the memory.
const (
	maxFormula  = 8 << 20  // bytes of a formula file: 40,000 steps written out
	maxFileSize = 32 << 20 // bytes of what file() reads
	maxNesting  = 1000     // brackets and operators around one point
	maxUnclosed = 100_000  // brackets, wherever they stand: no need to look closer
	maxExponent = 4        // digits in the exponent of a number
)

// readRegular reads name below root: a regular file of at most limit bytes. Errors
// carry no path of this machine.
func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, plainError(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, plainError(err)
	}
	switch {
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > limit:
		return nil, fmt.Errorf("it is larger than %d MiB", limit>>20)
	}
	src, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, plainError(err)
	}
	if int64(len(src)) > limit {
		return nil, fmt.Errorf("it is larger than %d MiB", limit>>20)
	}
	return src, nil
}

// plainError drops the operation and the path from err, and says plainly what the
// usual causes are.
func plainError(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("this user may not read it")
	case err.Error() == "path escapes from parent":
		return errEscapes
	}
	return err
}

var errEscapes = errors.New("it leaves the formula's directory, beyond which nothing is read")

// parse parses src as HCL once it is known to be safe to parse. The file is never
// nil, so that diagnostics can be printed.
func parse(src []byte, filename string) (*hcl.File, *hclsyntax.Body, hcl.Diagnostics) {
	empty := &hcl.File{Body: &hclsyntax.Body{}, Bytes: src}
	if d := checkText(src, filename); d != nil {
		return empty, nil, hcl.Diagnostics{d}
	}
	if d := checkNesting(src, filename, hclsyntax.LexConfig); d != nil {
		return empty, nil, hcl.Diagnostics{d}
	}
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if file == nil {
		return empty, nil, diags
	}
	body, _ := file.Body.(*hclsyntax.Body)
	return file, body, diags
}

// checkText refuses what is no text: bytes that are not UTF-8, and NUL.
func checkText(src []byte, filename string) *hcl.Diagnostic {
	at, what := bytes.IndexByte(src, 0), "a NUL byte"
	if !utf8.Valid(src) {
		for i := 0; i < len(src); {
			r, n := utf8.DecodeRune(src[i:])
			if r == utf8.RuneError && n == 1 {
				at, what = i, fmt.Sprintf("the byte 0x%02x, which is not UTF-8", src[i])
				break
			}
			i += n
		}
	}
	if at < 0 {
		return nil
	}
	return problem(rangeOfByte(src, at, filename), hcl.Range{},
		"Not a text file", "The file has %s. A formula file is UTF-8 text.", what)
}

// rangeOfByte is the range of one byte of src.
func rangeOfByte(src []byte, at int, filename string) hcl.Range {
	line := 1 + bytes.Count(src[:at], []byte{'\n'})
	column := at - bytes.LastIndexByte(src[:at], '\n')
	start := hcl.Pos{Line: line, Column: column, Byte: at}
	end := hcl.Pos{Line: line, Column: column + 1, Byte: at + 1}
	return hcl.Range{Filename: filename, Start: start, End: end}
}
