package toolbox

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
)

func newHash(name string) hash.Hash {
	switch name {
	case "md5sum":
		return md5.New()
	case "sha1sum":
		return sha1.New()
	case "sha384sum":
		return sha512.New384()
	case "sha512sum":
		return sha512.New()
	}
	return sha256.New()
}

// sum is md5sum, sha1sum, sha256sum, sha384sum and sha512sum.
func sum(p *proc, args []string) error {
	opts, files, err := p.options(args, "bctwz1234", "binary=b check=c text=t warn=w zero=z quiet=1 status=2 strict=3 ignore-missing=4")
	if err != nil {
		return err
	}
	if opts.has('c') {
		return p.checkSums(opts, files)
	}
	mark := " "
	if opts.last("bt") == 'b' {
		mark = "*"
	}
	return p.each(files, func(name string, r io.Reader) error {
		h := newHash(p.name)
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		p.line([]byte(hex.EncodeToString(h.Sum(nil))+" "+mark+name), true, lineEnd(opts))
		return nil
	})
}

func (p *proc) checkSums(opts options, files []string) error {
	bad, wrong, checked := 0, 0, 0
	err := p.each(files, func(_ string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, _ bool) error {
			digest, name, ok := strings.Cut(string(line), " ")
			if !ok || len(name) < 2 || len(digest) != 2*newHash(p.name).Size() {
				bad++
				return nil
			}
			name = name[1:]
			f, err := p.open(name)
			if err != nil {
				if !opts.has('4') {
					p.warn(err)
					fmt.Fprintf(p.out, "%s: FAILED open or read\n", name)
				}
				return nil
			}
			defer f.Close()
			h := newHash(p.name)
			if _, err := io.Copy(h, f); err != nil {
				return about(name, err)
			}
			checked++
			switch {
			case !strings.EqualFold(hex.EncodeToString(h.Sum(nil)), digest):
				wrong++
				if !opts.has('2') {
					fmt.Fprintf(p.out, "%s: FAILED\n", name)
				}
			case opts.last("12") == 0:
				fmt.Fprintf(p.out, "%s: OK\n", name)
			}
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case wrong > 0:
		if !opts.has('2') {
			p.warn(fmt.Errorf("WARNING: %d computed checksum(s) did NOT match", wrong))
		}
		return exit(1)
	case checked == 0:
		return errors.New("no properly formatted checksum lines found")
	case bad > 0:
		p.complain(fmt.Errorf("WARNING: %d line(s) improperly formatted", bad))
		if opts.has('3') {
			return exit(1)
		}
	}
	return nil
}

func base64Applet(p *proc, args []string) error {
	opts, files, err := p.options(args, "diw:", "decode=d ignore-garbage=i wrap=w")
	if err != nil {
		return err
	}
	width, err := strconv.Atoi(opts.value('w', "76"))
	if err != nil {
		return err
	}
	return p.each(files, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if opts.has('d') {
			data = bytes.Map(func(r rune) rune {
				if r == '\n' || r == '\r' || opts.has('i') && !strings.ContainsRune("+/=", r) && (r > 127 || !isLetter(byte(r))) {
					return -1
				}
				return r
			}, data)
			out, err := base64.StdEncoding.DecodeString(string(data))
			p.out.Write(out)
			if err != nil {
				return errors.New("invalid input")
			}
			return nil
		}
		text := base64.StdEncoding.EncodeToString(data)
		if width == 0 {
			p.out.WriteString(text)
			return nil
		}
		for len(text) > 0 {
			n := min(width, len(text))
			p.out.WriteString(text[:n] + "\n")
			text = text[n:]
		}
		return nil
	})
}
