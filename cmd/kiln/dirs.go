package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dataDir returns the directory name below kiln's data directory: "warehouse",
// "memo" or "runs". The directory exists and is writable.
//
// The data directory is $KILN_DATA_HOME, else $XDG_DATA_HOME/kiln, else
// $HOME/.local/share/kiln.
func dataDir(name string) (string, error) {
	return homeDir("KILN_DATA_HOME", "XDG_DATA_HOME", ".local/share", name)
}

// cacheDir is dataDir for what can be made again: $KILN_CACHE_HOME, else
// $XDG_CACHE_HOME/kiln, else $HOME/.cache/kiln.
func cacheDir(name string) (string, error) {
	return homeDir("KILN_CACHE_HOME", "XDG_CACHE_HOME", ".cache", name)
}

// configFile returns the path of a file in kiln's configuration directory, which
// need not exist: $KILN_CONFIG_HOME, else $XDG_CONFIG_HOME/kiln, else $HOME/.config/kiln.
func configFile(name string) (string, error) {
	dir, err := homePath("KILN_CONFIG_HOME", "XDG_CONFIG_HOME", ".config")
	return filepath.Join(dir, name), err
}

// homePath finds one of kiln's three directories. A relative $XDG_… is ignored,
// as the XDG base directory specification asks; a relative $KILN_… is an error.
func homePath(own, xdg, below string) (string, error) {
	if dir := os.Getenv(own); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("%s=%s: not an absolute path", own, dir)
		}
		return filepath.Clean(dir), nil
	}
	if dir := os.Getenv(xdg); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kiln"), nil
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, below, "kiln"), nil
	}
	return "", withHint(
		errors.New("find kiln's directory: HOME is not set to an absolute path"),
		fmt.Sprintf("Set HOME, or %s to a directory that you may write to.", own))
}

func homeDir(own, xdg, below, name string) (string, error) {
	base, err := homePath(own, xdg, below)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, name)
	if err := makeWritable(dir); err != nil {
		return "", withHint(err, fmt.Sprintf("Set %s to a directory that you may write to.", own))
	}
	return dir, nil
}

// makeWritable makes dir, only for this user, and checks that it can be written to.
func makeWritable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make kiln's directory: %w", err)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to kiln's directory", Path: dir, Err: err}
	}
	return nil
}
