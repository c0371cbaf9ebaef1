package git

import (
	"fmt"
	"strings"
)

// A setting is one line of a file in git's format for configuration.
type setting struct {
	section, name string // the section's own name, as written
	key, value    string // the key in lower case
}

// parseConfig reads a configuration file. It includes no other.
func parseConfig(data string) ([]setting, error) {
	var all []setting
	var at setting
	data = strings.TrimPrefix(data, "\ufeff")
	for n := 1; data != ""; n++ {
		var line string
		line, data, _ = strings.Cut(data, "\n")
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			rest, err := at.header(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if line = strings.TrimSpace(rest); line == "" || line[0] == '#' || line[0] == ';' {
				continue
			}
		}
		key, value, has := strings.Cut(line, "=")
		at.key, at.value = strings.ToLower(strings.TrimSpace(key)), "true"
		if has {
			var more int
			var err error
			if at.value, data, more, err = configValue(value, data); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			n += more
		}
		all = append(all, at)
	}
	return all, nil
}

// header reads [section "name"] and returns what follows it.
func (s *setting) header(line string) (rest string, err error) {
	end := strings.IndexAny(line, "]\"")
	if end < 0 {
		return "", fmt.Errorf("a section that does not end")
	}
	s.section, s.name = strings.ToLower(strings.TrimSpace(line[1:end])), ""
	if line[end] == ']' {
		return line[end+1:], nil
	}
	var name strings.Builder
	for i := end + 1; i < len(line); i++ {
		switch c := line[i]; c {
		case '\\':
			if i++; i < len(line) {
				name.WriteByte(line[i])
			}
		case '"':
			s.name = name.String()
			rest, ok := strings.CutPrefix(strings.TrimSpace(line[i+1:]), "]")
			if !ok {
				return "", fmt.Errorf("a section that does not end")
			}
			return rest, nil
		default:
			name.WriteByte(c)
		}
	}
	return "", fmt.Errorf("a name that does not end")
}

// configValue reads a value, which goes on in the next line after a backslash. more is
// how many lines of data that took.
func configValue(line, data string) (value, rest string, more int, err error) {
	var b strings.Builder
	quoted, spaces := false, 0
	line = strings.TrimSpace(line)
	for i := 0; ; i++ {
		if i >= len(line) {
			if quoted {
				return "", "", 0, fmt.Errorf("a value whose quotes do not end")
			}
			return b.String(), data, more, nil
		}
		switch c := line[i]; {
		case c == '\\' && i+1 == len(line):
			line, data, _ = strings.Cut(data, "\n")
			line, i, more = strings.TrimRight(line, "\r"), -1, more+1
			continue
		case c == '\\':
			i++
			plain, ok := map[byte]byte{'n': '\n', 't': '\t', 'b': '\b', '\\': '\\', '"': '"'}[line[i]]
			if !ok {
				return "", "", 0, fmt.Errorf("a value with an unknown escape")
			}
			b.WriteString(strings.Repeat(" ", spaces))
			b.WriteByte(plain)
			spaces = 0
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '#' || c == ';'):
			return b.String(), data, more, nil
		case !quoted && (c == ' ' || c == '\t'):
			spaces++
		default:
			b.WriteString(strings.Repeat(" ", spaces))
			b.WriteByte(c)
			spaces = 0
		}
	}
}
