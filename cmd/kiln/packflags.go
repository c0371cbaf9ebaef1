package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/spf13/pflag"
)

// addPackFlags adds the flags that say how a fileset is read and hashed.
func addPackFlags(flags *pflag.FlagSet, o *pack.BuildOptions) {
	flags.StringVar(&o.Packtype, "packtype", pack.Tree, "how the ware is hashed: tree, tar or zip")
	flags.StringArrayVar(&o.Include, "include", nil, "take only what matches this pattern (repeatable)")
	flags.StringArrayVar(&o.Exclude, "exclude", nil, "leave out what matches this pattern (repeatable)")
	flags.IntVar(&o.Strip, "strip", 0, "drop this many leading path components of an archive's entries")
	o.MaxBytes, o.MaxEntries, o.MaxRatio = pack.DefaultMaxBytes, pack.DefaultMaxEntries, pack.DefaultMaxRatio
	flags.Var((*sizeValue)(&o.MaxBytes), "max-bytes", "refuse an archive with more content than this")
	flags.Int64Var(&o.MaxEntries, "max-entries", o.MaxEntries, "refuse an archive with more entries than this")
	flags.Int64Var(&o.MaxRatio, "max-ratio", o.MaxRatio, "refuse an archive whose content is more than this many times its size")
}

// checkPackFlags refuses values that mean nothing.
func checkPackFlags(o *pack.BuildOptions) error {
	switch {
	case o.Strip < 0:
		return fmt.Errorf("--strip %d: want a number from 0 on", o.Strip)
	case o.MaxEntries < 1 || o.MaxRatio < 1:
		return fmt.Errorf("--max-entries and --max-ratio take numbers from 1 on")
	}
	return nil
}

// sizeValue is a flag's number of bytes, such as 500000, 64KiB or 1.5GiB. K, M, G and T
// alone are units of 1024 as well.
type sizeValue int64

func (v *sizeValue) Type() string { return "size" }

func (v *sizeValue) String() string {
	n, unit := int64(*v), 0
	for n >= 1024 && n%1024 == 0 && unit < 4 {
		n /= 1024
		unit++
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d%ciB", n, "KMGT"[unit-1])
}

func (v *sizeValue) Set(text string) error {
	number := strings.TrimSuffix(strings.TrimSuffix(text, "B"), "i")
	scale := 1.0
	if i := strings.IndexAny("KMGT", number[max(0, len(number)-1):]); i >= 0 && number != "" {
		scale = float64(int64(1) << (10 * (i + 1)))
		number = number[:len(number)-1]
	} else if number != text {
		number = "" // "5B", "5iB"
	}
	n, err := strconv.ParseFloat(number, 64)
	if n *= scale; err != nil || !(n >= 1 && n < 1<<62) || strings.ContainsAny(number, "xXpPeE_+ni") {
		return fmt.Errorf("want a number of bytes such as 500000 or 1.5GiB")
	}
	*v = sizeValue(n)
	return nil
}
