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

// unclosed returns where more than maxUnclosed brackets are open, even counting those
// in strings and comments, or -1. It keeps such files from being turned into tokens,
// which take a hundred times their size.
func unclosed(src []byte) int {
	depth := 0
	for i, c := range src {
		switch c {
		case '(', '[', '{':
			if depth++; depth > maxUnclosed {
				return i
			}
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return -1
}

type lexer func(src []byte, filename string, start hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics)

// checkNesting refuses sources that would nest a recursive parser or evaluator too
// deeply, since a goroutine's stack cannot be caught when it overflows. Brackets
// and operators count; a comma, or a new line in a body or an object, ends what is
// to its left. Files with few of them pass without being read twice.
func checkNesting(src []byte, filename string, lex lexer) *hcl.Diagnostic {
	if !mayNest(src) {
		return nil
	}
	if at := unclosed(src); at >= 0 {
		return problem(rangeOfByte(src, at, filename), hcl.Range{}, "Nested too deeply",
			"More than %d brackets are open here.", maxUnclosed)
	}
	tokens, _ := lex(src, filename, hcl.InitialPos)
	var n nesting
	n.open = []level{{breaks: true}}
	for i, t := range tokens {
		if t.Type == hclsyntax.TokenNumberLit && exponentDigits(t.Bytes) > maxExponent {
			return problem(t.Range, hcl.Range{}, "Number too large",
				"The exponent of this number has more than %d digits.", maxExponent)
		}
		n.add(tokens[i:])
		if n.depth > maxNesting {
			return problem(t.Range, hcl.Range{}, "Nested too deeply",
				"More than %d brackets and operators nest here. Take parts of the expression out into locals.", maxNesting)
		}
	}
	return nil
}

// nesting bounds how deep the tree of an expression can be at a token.
type nesting struct {
	open  []level
	depth int // sum of all operators, and the number of levels
}

// level is an open bracket.
type level struct {
	operators int  // since the last separator
	breaks    bool // a new line separates
}

func (n *nesting) add(tokens hclsyntax.Tokens) {
	switch t := tokens[0].Type; t {
	case hclsyntax.TokenTemplateControl:
		n.operator(controlDepth(tokens[1:]))
		n.push(false)
	case hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenTemplateInterp,
		hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
		n.push(false)
	case hclsyntax.TokenOBrace:
		n.push(true)
	case hclsyntax.TokenCParen, hclsyntax.TokenCBrace, hclsyntax.TokenTemplateSeqEnd,
		hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
		n.pop()
	case hclsyntax.TokenCBrack:
		n.pop()
		n.operator(1) // a[i][j] nests to the left
	case hclsyntax.TokenComma:
		n.separate()
	case hclsyntax.TokenNewline:
		if n.open[len(n.open)-1].breaks {
			n.separate()
		}
	case hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenStar, hclsyntax.TokenSlash,
		hclsyntax.TokenPercent, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenBang,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
		hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenQuestion, hclsyntax.TokenColon:
		n.operator(1)
	}
}

func (n *nesting) push(breaks bool) {
	n.open = append(n.open, level{breaks: breaks})
	n.depth++
}

func (n *nesting) pop() {
	if len(n.open) > 1 {
		n.separate()
		n.open = n.open[:len(n.open)-1]
		n.depth--
	}
}

func (n *nesting) operator(count int) {
	top := &n.open[len(n.open)-1]
	count = max(count, -top.operators)
	top.operators += count
	n.depth += count
}

func (n *nesting) separate() {
	n.operator(-n.open[len(n.open)-1].operators)
}

// controlDepth says how a template directive, whose tokens these are, changes the
// nesting: "if" and "for" open, their ends close.
func controlDepth(tokens hclsyntax.Tokens) int {
	if len(tokens) == 0 {
		return 0
	}
	switch string(tokens[0].Bytes) {
	case "if", "for":
		return 1
	case "endif", "endfor":
		return -1
	}
	return 0
}

// stackBudget is what mayNest allows a whole file: a bracket weighs 4, an operator 1.
// Measured with hcl 2.25, a level of brackets takes at most 13 kB of stack and an
// operator 3.4 kB, so this is 270 MB of the 512 MB that a goroutine can have.
const stackBudget = 80_000

// mayNest is a cheap test, wrong in one direction only: when it is false, src cannot
// exhaust the stack. It is true for what checkNesting may refuse, and for files with
// more brackets than would be safe if all of them nested.
func mayNest(src []byte) bool {
	weight, depth, line := 0, 0, 0
	var last byte
	for i, c := range src {
		switch c {
		case '(', '[', '{':
			weight += 4
			depth++
			line++
		case ')', '}', ']':
			weight++
			depth = max(0, depth-1)
		case '+', '-', '*', '/', '%', '!', '<', '>', '?':
			weight++
			line++
		case '=', '&', '|':
			if c == last {
				weight++
				line++
			}
		case '\n':
			line = 0
		case 'e', 'E':
			if last >= '0' && last <= '9' && exponentDigits(src[i:min(len(src), i+16)]) > maxExponent {
				return true
			}
		}
		if weight > stackBudget || depth > maxNesting/2 || line > maxNesting/2 {
			return true
		}
		last = c
	}
	return false
}

// exponentDigits counts the digits of the exponent in a number that begins text.
func exponentDigits(text []byte) int {
	i := bytes.IndexAny(text, "eE")
	if i < 0 {
		return 0
	}
	digits := bytes.TrimLeft(text[i+1:], "+-")
	n := 0
	for n < len(digits) && digits[n] >= '0' && digits[n] <= '9' {
		n++
	}
	return n
}
