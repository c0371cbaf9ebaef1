//go:build !core

package toolbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// jq filters JSON with gojq, whose own command is not used because it needs the
// streams of the process. Objects print with sorted keys.
func jq(p *proc, args []string) error {
	args, vars, err := p.jqVariables(args)
	if err != nil {
		return err
	}
	opts, rest, err := p.options(args, "rjcnsReSaMCf:1:2", "raw-output=r join-output=j compact-output=c null-input=n slurp=s raw-input=R "+
		"exit-status=e sort-keys=S monochrome-output=M color-output=C from-file=f indent=1 tab=2")
	if err != nil {
		return codedError{err, 2}
	}
	if opts.last("aC") != 0 {
		return codedError{errors.New("options -a and -C are not supported"), 2}
	}
	var src string
	if name := opts.value('f', ""); name != "" {
		lines, err := p.fileLines(name)
		if err != nil {
			return codedError{err, 2}
		}
		src = strings.Join(lines, "\n")
	} else if len(rest) > 0 {
		src, rest = rest[0], rest[1:]
	} else {
		return codedError{errors.New("missing filter"), 2}
	}
	inputs, err := p.jqInputs(opts, rest)
	if err != nil {
		return codedError{err, 2}
	}
	code, err := p.jqCompile(src, vars, inputs)
	if err != nil {
		return codedError{err, 3}
	}
	indent, err := strconv.Atoi(opts.value('1', "2"))
	if err != nil {
		return codedError{err, 2}
	}
	out := &jqPrinter{p: p, opts: opts, indent: strings.Repeat(" ", indent)}
	if opts.has('2') {
		out.indent = "\t"
	}
	if opts.has('n') {
		inputs = gojq.NewIter[any](nil)
	}
	for {
		value, ok := inputs.Next()
		if !ok {
			break
		}
		if err, ok := value.(error); ok {
			return codedError{err, 2}
		}
		if err := out.run(code, value, vars.values); err != nil {
			var halt *gojq.HaltError
			if errors.As(err, &halt) {
				return p.jqHalt(halt)
			}
			p.fail = 5
			p.warn(err)
		}
	}
	if opts.has('e') && p.status == 0 {
		switch {
		case out.count == 0:
			return exit(4)
		case out.last == nil || out.last == false:
			return exit(1)
		}
	}
	return nil
}

type jqVars struct {
	names  []string
	values []any
}

// jqVariables takes the options with two values, and --args, out of args.
func (p *proc) jqVariables(args []string) (rest []string, vars jqVars, err error) {
	named := map[string]any{}
	positional := []any{}
	add := func(name string, value any) {
		vars.names, vars.values = append(vars.names, "$"+name), append(vars.values, value)
		named[name] = value
	}
	program := false
	for i := 0; i < len(args); i++ {
		flag := args[i]
		switch flag {
		case "--arg", "--argjson", "--slurpfile", "--rawfile":
			if i+2 >= len(args) {
				return nil, vars, fmt.Errorf("option %s needs a name and a value", flag)
			}
			value, err := p.jqValue(flag, args[i+2])
			if err != nil {
				return nil, vars, codedError{fmt.Errorf("%s %s: %w", flag, args[i+1], err), 2}
			}
			add(args[i+1], value)
			i += 2
		case "--args", "--jsonargs":
			for _, arg := range args[i+1:] {
				if !program {
					program, rest = true, append(rest, arg)
					continue
				}
				value := any(arg)
				if flag == "--jsonargs" {
					if value, err = p.jqValue("--argjson", arg); err != nil {
						return nil, vars, codedError{err, 2}
					}
				}
				positional = append(positional, value)
			}
			i = len(args)
		default:
			program = program || !strings.HasPrefix(flag, "-")
			rest = append(rest, flag)
		}
	}
	add("ARGS", map[string]any{"named": named, "positional": positional})
	return rest, vars, nil
}

func (p *proc) jqValue(flag, text string) (any, error) {
	switch flag {
	case "--arg":
		return text, nil
	case "--argjson":
		return decodeOne([]byte(text))
	}
	f, err := p.open(text)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil || flag == "--rawfile" {
		return string(data), err
	}
	values := []any{}
	for d := newDecoder(bytes.NewReader(data)); ; {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			return values, nil
		} else if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
}

func newDecoder(r io.Reader) *json.Decoder {
	d := json.NewDecoder(r)
	d.UseNumber()
	return d
}

func decodeOne(data []byte) (v any, err error) {
	d := newDecoder(bytes.NewReader(data))
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

func (p *proc) jqCompile(src string, vars jqVars, inputs gojq.Iter) (*gojq.Code, error) {
	query, err := gojq.Parse(src)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	code, err := gojq.Compile(query, gojq.WithVariables(vars.names), gojq.WithEnvironLoader(p.environ), gojq.WithInputIter(inputs))
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return code, nil
}

// jqInputs reads the values of all files, one after another, as they are asked for.
type jqIter func() (any, bool)

func (next jqIter) Next() (any, bool) { return next() }

func (p *proc) jqInputs(opts options, files []string) (gojq.Iter, error) {
	if len(files) == 0 {
		files = []string{"-"}
	}
	readers := make([]io.Reader, len(files))
	for i, name := range files {
		f, err := p.open(name)
		if err != nil {
			return nil, err
		}
		readers[i] = f
	}
	in := io.MultiReader(readers...)
	slurp, raw := opts.has('s'), opts.has('R')
	switch {
	case raw && slurp:
		data, err := io.ReadAll(in)
		return gojq.NewIter[any](string(data)), err
	case raw:
		return jqLines(in), nil
	}
	d := newDecoder(in)
	next := jqIter(func() (any, bool) {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			return nil, false
		} else if err != nil {
			d = newDecoder(strings.NewReader(""))
			return fmt.Errorf("input: %w", err), true
		}
		return v, true
	})
	if !slurp {
		return next, nil
	}
	all := []any{}
	for {
		v, ok := next()
		if err, isErr := v.(error); isErr {
			return nil, err
		}
		if !ok {
			return gojq.NewIter[any](all), nil
		}
		all = append(all, v)
	}
}

func jqLines(in io.Reader) gojq.Iter {
	data, err := io.ReadAll(in)
	text := string(data)
	return jqIter(func() (any, bool) {
		if err != nil {
			return err, true
		}
		if text == "" {
			return nil, false
		}
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		return line, true
	})
}

type jqPrinter struct {
	p      *proc
	opts   options
	indent string
	count  int
	last   any
}

func (out *jqPrinter) run(code *gojq.Code, value any, vars []any) error {
	for iter := code.RunWithContext(out.p.ctx, value, vars...); ; {
		v, ok := iter.Next()
		if !ok {
			return nil
		}
		if err, ok := v.(error); ok {
			return err
		}
		out.count, out.last = out.count+1, v
		if err := out.print(v); err != nil {
			return err
		}
	}
}

func (out *jqPrinter) print(v any) error {
	w := out.p.out
	if s, ok := v.(string); ok && out.opts.last("rj") != 0 {
		w.WriteString(s)
	} else {
		data, err := gojq.Marshal(v)
		if err != nil {
			return err
		}
		if !out.opts.has('c') && out.indent != "" {
			var b bytes.Buffer
			if err := json.Indent(&b, data, "", out.indent); err != nil {
				return err
			}
			data = b.Bytes()
		}
		w.Write(data)
	}
	if !out.opts.has('j') {
		w.WriteByte('\n')
	}
	return nil
}

func (p *proc) jqHalt(halt *gojq.HaltError) error {
	if v := halt.Value(); v != nil && halt.ExitCode() != 0 {
		if s, ok := v.(string); ok {
			fmt.Fprint(p.stderr, s)
		} else if data, err := gojq.Marshal(v); err == nil {
			fmt.Fprintf(p.stderr, "%s\n", data)
		}
	}
	return exit(halt.ExitCode())
}
