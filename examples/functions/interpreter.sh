#!/bin/sh
# interpreter.sh DIR COMMAND [PATH...]
#
# Lays an installed program out in DIR as a root directory for functions: the
# program, the shared libraries that it links with, and further files and directories
# that it needs. Links are copied as what they lead to.
set -eu
dir=$1 command=$(command -v "$2")
shift 2

# put PATH: copies a file or directory to its place.
put() {
	mkdir -p "$dir$(dirname "$1")"
	cp -RL "$1" "$dir$1"
}

put "$command"
ldd "$command" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | while read -r library; do
	put "$library"
done
for path; do
	put "$path"
done
