package toolbox

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// expr evaluates its operands: | & = != < <= > >= + - * / % : match substr index length ( ).
func expr(p *proc, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return errMissingOperand
	}
	e := &exprReader{args: args}
	value, err := e.level(0)
	if err != nil {
		return err
	}
	if len(e.args) > 0 {
		return fmt.Errorf("syntax error: unexpected %q", e.args[0])
	}
	fmt.Fprintln(p.out, value)
	if exprFalse(value) {
		return exit(1)
	}
	return nil
}

func exprFalse(s string) bool {
	n, ok := new(big.Int).SetString(s, 10)
	return s == "" || ok && n.Sign() == 0
}

type exprReader struct{ args []string }

// exprLevels are the binary operators, loosest first.
func exprOperator(level int, op string) bool {
	levels := [...]string{" | ", " & ", " < <= = == != >= > ", " + - ", " * / % ", " : "}
	return strings.Contains(levels[level], " "+op+" ")
}

func (e *exprReader) level(n int) (string, error) {
	if n == 6 {
		return e.primary()
	}
	left, err := e.level(n + 1)
	for err == nil && len(e.args) > 0 && e.args[0] != "" && exprOperator(n, e.args[0]) {
		op := e.args[0]
		e.args = e.args[1:]
		var right string
		if right, err = e.level(n + 1); err == nil {
			left, err = exprApply(op, left, right)
		}
	}
	return left, err
}

func (e *exprReader) next() (string, error) {
	if len(e.args) == 0 {
		return "", errors.New("syntax error: missing operand")
	}
	arg := e.args[0]
	e.args = e.args[1:]
	return arg, nil
}

func (e *exprReader) primary() (string, error) {
	word, err := e.next()
	if err != nil {
		return "", err
	}
	operands := map[string]int{"match": 2, "substr": 3, "index": 2, "length": 1}[word]
	switch {
	case word == "(":
		value, err := e.level(0)
		if err != nil {
			return "", err
		}
		if end, err := e.next(); err != nil || end != ")" {
			return "", errors.New("syntax error: missing )")
		}
		return value, nil
	case word == "+" && len(e.args) > 0:
		return e.next()
	case operands == 0 || len(e.args) == 0:
		return word, nil
	}
	var v [3]string
	for i := range operands {
		if v[i], err = e.primary(); err != nil {
			return "", err
		}
	}
	switch word {
	case "match":
		return exprMatch(v[0], v[1])
	case "length":
		return strconv.Itoa(utf8.RuneCountInString(v[0])), nil
	case "index":
		for i, r := range []rune(v[0]) {
			if strings.ContainsRune(v[1], r) {
				return strconv.Itoa(i + 1), nil
			}
		}
		return "0", nil
	}
	from, err1 := strconv.Atoi(v[1])
	count, err2 := strconv.Atoi(v[2])
	s := []rune(v[0])
	if err1 != nil || err2 != nil || from < 1 || count < 1 || from > len(s) {
		return "", nil
	}
	return string(s[from-1 : min(len(s), from-1+count)]), nil
}

func exprApply(op, a, b string) (string, error) {
	switch op {
	case "|":
		if !exprFalse(a) {
			return a, nil
		}
		if !exprFalse(b) {
			return b, nil
		}
		return "0", nil
	case "&":
		if exprFalse(a) || exprFalse(b) {
			return "0", nil
		}
		return a, nil
	case ":":
		return exprMatch(a, b)
	}
	x, okX := new(big.Int).SetString(a, 10)
	y, okY := new(big.Int).SetString(b, 10)
	if strings.ContainsAny(op, "<=>") {
		c := strings.Compare(a, b)
		if okX && okY {
			c = x.Cmp(y)
		}
		holds := map[string]bool{"<": c < 0, "<=": c <= 0, "=": c == 0, "==": c == 0, "!=": c != 0, ">=": c >= 0, ">": c > 0}[op]
		if holds {
			return "1", nil
		}
		return "0", nil
	}
	if !okX || !okY {
		return "", errors.New("non-integer argument")
	}
	switch op {
	case "+":
		return x.Add(x, y).String(), nil
	case "-":
		return x.Sub(x, y).String(), nil
	case "*":
		return x.Mul(x, y).String(), nil
	}
	if y.Sign() == 0 {
		return "", errors.New("division by zero")
	}
	if op == "/" {
		return x.Quo(x, y).String(), nil
	}
	return x.Rem(x, y).String(), nil
}

// exprMatch matches from the start: the first group, or how many characters matched.
func exprMatch(s, pattern string) (string, error) {
	re, err := compileRegex(pattern, false, "")
	if err != nil {
		return "", err
	}
	m := re.FindStringSubmatchIndex(s)
	matched := m != nil && m[0] == 0
	switch {
	case re.NumSubexp() == 0 && matched:
		return strconv.Itoa(utf8.RuneCountInString(s[:m[1]])), nil
	case re.NumSubexp() == 0:
		return "0", nil
	case matched && m[2] >= 0:
		return s[m[2]:m[3]], nil
	}
	return "", nil
}
