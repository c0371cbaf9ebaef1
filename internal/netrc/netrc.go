// Package netrc finds passwords where curl and git do: in a .netrc file.
package netrc

import (
	"os"
	"path/filepath"
	"strings"
)

// Lookup looks a host up in $NETRC or ~/.netrc. What cannot be read has no entries.
func Lookup(host string) (name, password string, ok bool) {
	path := os.Getenv("NETRC")
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", "", false
		}
		path = filepath.Join(home, ".netrc")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "", false
	}
	return search(string(text), host)
}

// search finds the first entry for host, or the default one.
func search(text, host string) (name, password string, ok bool) {
	match, inMacro := false, false
	var words []string
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			inMacro = false
		}
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == "macdef" {
			inMacro = true // up to an empty line
		}
		if !inMacro && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			words = append(words, fields...)
		}
	}
	for i := 0; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "machine", "default":
			if ok {
				return name, password, true
			}
			match = words[i] == "default" || value == host
			name, password = "", ""
			if words[i] == "default" {
				continue
			}
		case "login":
			name = value
		case "password":
			password, ok = value, match
		case "account":
		default:
			continue
		}
		i++
	}
	return name, password, ok
}
