package inside

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Install copies this executable to path.
func Install(path string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("install the helper: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("install the helper: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("install the helper: %w", err)
	}
	return nil
}
