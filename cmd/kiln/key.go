package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const keyHelp = `Memos that go to other warehouses are signed, and those that come from there count
only if a key that is trusted has signed them: who can write to a warehouse could
otherwise make every build there come out as they like.

A person or a CI system makes a key once with kiln key new, and gives the public one
to the others, who say kiln key trust. The secret key is the file key in kiln's
configuration directory, another one if config.hcl or $KILN_KEY names it. Trusted
are that key, those in config.hcl (trust = [...]) and those of kiln key trust.`

// trustedKeys is the name of the file in the configuration directory that kiln key
// trust writes.
const trustedKeys = "trusted_keys"

func newKeyCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make the key that signs memos, and say whose to trust",
		Long:  keyHelp,
		Args:  cobra.ArbitraryArgs,
		RunE:  runGroup,
	}
	verb := func(use, short string, args cobra.PositionalArgs, run func([]string) error) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Args: args,
			RunE: func(_ *cobra.Command, args []string) error { return run(args) }})
	}
	verb("new", "Make a key and print the public one", cobra.NoArgs, a.keyNew)
	verb("show", "Print the public key", cobra.NoArgs, a.keyShow)
	verb("ls", "List the keys that are trusted", cobra.NoArgs, a.keyList)
	verb("trust KEY [NAME]", "Trust memos that a key has signed", cobra.RangeArgs(1, 2), a.keyTrust)
	verb("distrust KEY|NAME", "Trust a key no more", cobra.ExactArgs(1), a.keyDistrust)
	return cmd
}

// keyPath returns where this person's key lies, or would.
func (a *app) keyPath() (string, error) {
	c, err := a.configuration()
	if err != nil {
		return "", err
	}
	return secretPath(c)
}

func (a *app) keyNew([]string) error {
	path, err := a.keyPath()
	if err != nil {
		return err
	}
	secret, err := seal.New()
	if err == nil {
		err = secret.Write(path)
	}
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("there is a key already: %s", path),
			"kiln key show prints its public one. To replace it, move the file away: memos that it signed stay trusted where it is.")
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stderr, "wrote", path)
	fmt.Fprintln(a.stdout, secret)
	return nil
}

func (a *app) keyShow([]string) error {
	path, err := a.keyPath()
	if err != nil {
		return err
	}
	secret, err := seal.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there is no key: %s", path), "kiln key new makes one.")
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, secret)
	return nil
}

func (a *app) keyList([]string) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	_, secret, err := keys(c)
	if err != nil {
		return err
	}
	if secret != nil {
		fmt.Fprintln(a.stdout, secret, "this one's own")
	}
	for _, text := range c.Trust {
		fmt.Fprintln(a.stdout, text, "in", c.Path)
	}
	return withTrusted(func(list []seal.Trusted) ([]seal.Trusted, error) {
		for _, t := range list {
			fmt.Fprintln(a.stdout, strings.TrimSpace(t.Key.String()+" "+t.Name))
		}
		return list, errUnchanged
	})
}

func (a *app) keyTrust(args []string) error {
	key, err := seal.ParseKey(args[0])
	if err != nil {
		return err
	}
	t := seal.Trusted{Key: key}
	if len(args) > 1 {
		t.Name = args[1]
	}
	if strings.ContainsFunc(t.Name, unicode.IsControl) {
		return fmt.Errorf("a key cannot be called %q: that is more than a line of text", t.Name)
	}
	return withTrusted(func(list []seal.Trusted) ([]seal.Trusted, error) {
		list = slices.DeleteFunc(list, func(old seal.Trusted) bool {
			if old.Key == key {
				t.Name = cmp.Or(t.Name, old.Name)
			}
			return old.Key == key
		})
		return append(list, t), nil
	})
}

func (a *app) keyDistrust(args []string) error {
	return withTrusted(func(list []seal.Trusted) ([]seal.Trusted, error) {
		kept := slices.DeleteFunc(slices.Clone(list), func(t seal.Trusted) bool { return t.Key.String() == args[0] || t.Name == args[0] })
		if len(kept) == len(list) {
			return nil, withHint(fmt.Errorf("no such key: %s", args[0]), "See kiln key ls. Keys in config.hcl are taken out there.")
		}
		return kept, nil
	})
}

// errUnchanged says that there is nothing to write.
var errUnchanged = errors.New("unchanged")

// withTrusted changes the list of trusted keys, one kiln at a time.
func withTrusted(change func([]seal.Trusted) ([]seal.Trusted, error)) error {
	path, err := configFile(trustedKeys)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if d, err := os.Open(dir); err == nil {
		defer d.Close()
		_ = unix.Flock(int(d.Fd()), unix.LOCK_EX) // a file system without locks is no reason to stop
	}
	list, err := seal.ReadTrusted(path)
	if err != nil {
		return err
	}
	list, err = change(list)
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil {
		return err
	}
	return seal.WriteTrusted(path, list)
}
