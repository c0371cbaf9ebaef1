package toolbox

import (
	"fmt"
	"strings"
)

// An option is one flag given, and its value if it takes one.
type option struct {
	flag  byte
	value string
}

type options []option

// options reads flags from args and returns them with the operands. spec lists the
// letters; one followed by ':' takes a value. A spec that starts with '+'
// ends at the first operand, else flags and operands may mix. long maps
// long names to letters: "reverse=r key=k"; a letter only used for a
// long name can be any byte of spec.
func (p *proc) options(args []string, spec, long string) (options, []string, error) {
	mixed := !strings.HasPrefix(spec, "+")
	spec = strings.TrimPrefix(spec, "+")
	var opts options
	var operands []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return opts, append(operands, args[i+1:]...), nil
		case strings.HasPrefix(arg, "--"):
			name, value, given := strings.Cut(arg[2:], "=")
			flag, err := longFlag(name, long)
			if err != nil {
				return nil, nil, err
			}
			if takes := takesValue(spec, flag); takes && !given {
				if i++; i == len(args) {
					return nil, nil, fmt.Errorf("option --%s needs a value", name)
				}
				value = args[i]
			} else if !takes && given {
				return nil, nil, fmt.Errorf("option --%s takes no value", name)
			}
			opts = append(opts, option{flag, value})
		case len(arg) > 1 && arg[0] == '-':
			for j := 1; j < len(arg); j++ {
				if arg[j] == ':' || !isLetter(arg[j]) || strings.IndexByte(spec, arg[j]) < 0 {
					return nil, nil, fmt.Errorf("unknown option -%c", arg[j])
				}
				if !takesValue(spec, arg[j]) {
					opts = append(opts, option{flag: arg[j]})
					continue
				}
				value := arg[j+1:]
				if value == "" {
					if i++; i == len(args) {
						return nil, nil, fmt.Errorf("option -%c needs a value", arg[j])
					}
					value = args[i]
				}
				opts = append(opts, option{arg[j], value})
				break
			}
		case mixed:
			operands = append(operands, arg)
		default:
			return opts, append(operands, args[i:]...), nil
		}
	}
	return opts, operands, nil
}

// isLetter reports whether a flag can be given as -c; other bytes of a spec
// stand for long options.
func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func takesValue(spec string, flag byte) bool {
	i := strings.IndexByte(spec, flag)
	return i >= 0 && i+1 < len(spec) && spec[i+1] == ':'
}

// longFlag finds a long option by its name or an unambiguous beginning of it.
func longFlag(name, long string) (byte, error) {
	var found byte
	for _, pair := range strings.Fields(long) {
		full, letter, _ := strings.Cut(pair, "=")
		if full == name {
			return letter[0], nil
		}
		if strings.HasPrefix(full, name) {
			if found != 0 && found != letter[0] {
				return 0, fmt.Errorf("option --%s is ambiguous", name)
			}
			found = letter[0]
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("unknown option --%s", name)
	}
	return found, nil
}

func (o options) has(flag byte) bool {
	for _, opt := range o {
		if opt.flag == flag {
			return true
		}
	}
	return false
}

// last returns the one of flags that was given last, 0 if none was.
func (o options) last(flags string) byte {
	for i := len(o) - 1; i >= 0; i-- {
		if strings.IndexByte(flags, o[i].flag) >= 0 {
			return o[i].flag
		}
	}
	return 0
}

// value returns the last value given for flag, or otherwise.
func (o options) value(flag byte, otherwise string) string {
	for i := len(o) - 1; i >= 0; i-- {
		if o[i].flag == flag {
			return o[i].value
		}
	}
	return otherwise
}

// all returns every value given for flag.
func (o options) all(flag byte) []string {
	var values []string
	for _, opt := range o {
		if opt.flag == flag {
			values = append(values, opt.value)
		}
	}
	return values
}
