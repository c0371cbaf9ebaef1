package formula

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

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
