package s3

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"time"
)

// profiles are those of AWS's shared files, by name: settings by name.
type profiles struct {
	of    map[string]map[string]string
	paths []string
	err   error // a file that is there cannot be read
}

// sharedFiles reads AWS's configuration and credentials; what both say is taken from
// the latter.
func sharedFiles() *profiles {
	home, _ := os.UserHomeDir()
	p := &profiles{of: map[string]map[string]string{}}
	p.read(cmp.Or(os.Getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config")))
	p.read(cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(home, ".aws", "credentials")))
	return p
}

func (p *profiles) profile(name string) map[string]string { return p.of[name] }

// String names the files.
func (p *profiles) String() string { return strings.Join(p.paths, " and ") }

func (p *profiles) read(path string) {
	p.paths = append(p.paths, path)
	data, err := os.ReadFile(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			p.err = err
		}
		return
	}
	for name, settings := range parseProfiles(string(data)) {
		if p.of[name] == nil {
			p.of[name] = map[string]string{}
		}
		maps.Copy(p.of[name], settings)
	}
}

// parseProfiles reads lines of [NAME] or [profile NAME], and of KEY = VALUE. Lines that
// are indented belong to a setting above them and are none that kiln uses.
func parseProfiles(text string) map[string]map[string]string {
	all := map[string]map[string]string{}
	var into map[string]string
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		line = strings.TrimSpace(line)
		switch {
		case line == "" || indented || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			name, _, _ := strings.Cut(line[1:], "]")
			name = strings.TrimSpace(name)
			if rest, ok := strings.CutPrefix(name, "profile "); ok {
				name = strings.Trim(strings.TrimSpace(rest), `"`)
			} else if strings.ContainsAny(name, " \t") {
				into = map[string]string{} // sso-session, services
				continue
			}
			if all[name] == nil {
				all[name] = map[string]string{}
			}
			into = all[name]
		case into != nil:
			key, value, _ := strings.Cut(line, "=")
			value, _, _ = strings.Cut(value, " #")
			into[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return all
}

// runProcess asks a program for credentials, as AWS specifies: "Sourcing credentials
// with an external process".
func runProcess(ctx context.Context, command string) (credentials, error) {
	cmd := osexec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return credentials{}, fmt.Errorf("credential_process: %w: %s", err, printable(strings.TrimSpace(errOut.String())))
	}
	return parseAnswer(out.Bytes())
}

// parseAnswer reads credentials as programs, containers and machines hand them out.
func parseAnswer(data []byte) (credentials, error) {
	var a struct {
		Version                            int
		AccessKeyId, SecretAccessKey       string
		SessionToken, Token, Code, Message string
		Expiration                         time.Time
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return credentials{}, errors.New("the answer is not JSON, as AWS specifies it") // and may hold a secret
	}
	if a.AccessKeyId == "" || a.SecretAccessKey == "" {
		return credentials{}, fmt.Errorf("the answer holds no credentials%s", suffix(a.Code, a.Message))
	}
	return credentials{AccessKeyID: a.AccessKeyId, SecretKey: a.SecretAccessKey, Token: cmp.Or(a.SessionToken, a.Token), Expires: a.Expiration}, nil
}

func suffix(code, message string) string {
	if code == "" && message == "" {
		return ""
	}
	return fmt.Sprintf(": %s %q", printable(code), printable(message))
}
