package jsonschema

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the runners in Python and Node refuse must be what the complete validator
// refuses, and most of that.
func TestRunnersAgree(t *testing.T) {
	for name, c := range map[string]struct{ program, runner, file, module string }{
		"python": {"/usr/bin/python3", "python/runner.py", "m.py", "def execute_function(input):\n    return input\n"},
		"node":   {"/usr/bin/node", "node/runner.mjs", "m.mjs", "export const executeFunction = (input) => input;\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(c.program); err != nil {
				t.Skipf("needs %s: %v", c.program, err)
			}
			module := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(module, []byte(c.module), 0o644); err != nil {
				t.Fatal(err)
			}
			seed := uint64(time.Now().UnixNano())
			r := rand.New(rand.NewPCG(seed, 2))
			var requests bytes.Buffer
			var lines []string
			var want []bool
			for len(lines) < 4000 {
				source, _ := json.Marshal(randomSchema(r, 3))
				value, _ := json.Marshal(randomValue(r, 3))
				s, err := Compile(source)
				if err != nil || bytes.Contains(append(source, value...), []byte("90071992547409")) { // beyond what Node can tell apart
					continue
				}
				decoded, err := Decode(value)
				if err != nil {
					t.Fatal(err)
				}
				line := `{"schema_in":` + string(source) + `,"input":` + string(value) + "}"
				lines, want = append(lines, line), append(want, s.validate(decoded) == nil)
				requests.WriteString(line + "\n")
			}
			cmd := osexec.Command(c.program, "../../exec/function/runners/"+c.runner, module)
			cmd.Stdin = &requests
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			answers := strings.Split(strings.TrimSpace(string(out)), "\n")
			if len(answers) != len(lines) {
				t.Fatalf("%d answers to %d requests; %s", len(answers), len(lines), stderr.String())
			}
			refused, invalid := 0, 0
			for i, line := range answers {
				var answer struct {
					OK    bool
					Error struct{ Code, Message string }
				}
				if err := json.Unmarshal([]byte(line), &answer); err != nil {
					t.Fatal(err)
				}
				if !answer.OK && (want[i] || answer.Error.Code != "input_invalid") {
					t.Fatalf("seed %d: %s is valid (%v), and the runner says %+v", seed, lines[i], want[i], answer.Error)
				}
				if !want[i] {
					invalid++
					if !answer.OK {
						refused++
					}
				}
			}
			if refused < invalid*8/10 {
				t.Errorf("the runner refused %d of %d", refused, invalid)
			}
			t.Logf("refused %d of %d invalid values", refused, invalid)
		})
	}
}
