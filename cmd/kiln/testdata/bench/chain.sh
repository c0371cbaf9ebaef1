#!/bin/bash
# chain.sh: times a chain of steps, each with the output of the one before mounted, its own
# output packed and remembered, as the whole process `kiln run -q`. Prints NAME SECONDS, the
# median of 5. The steps run BusyBox's shell (Debian: busybox-static), as Nix's builder does
# in the comparison; with "toolbox" they run kiln's own.
#   chain.sh KILN [STEPS] [busybox|toolbox]
set -euo pipefail
kiln=$(realpath "$1") steps=${2:-50} shell=${3:-busybox}
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
export KILN_DATA_HOME=$tmp/data KILN_CACHE_HOME=$tmp/cache

base='builtin = "toolbox"'
if [ "$shell" = busybox ]; then
	mkdir -p "$tmp/base/bin"
	cp "$(command -v busybox)" "$tmp/base/bin/sh"
	base="path = \"$tmp/base\""
fi

# formula SALT: no two salts have a step in common.
formula() {
	echo "ware \"base\" { $base }"
	for ((i = 0; i < steps; i++)); do
		input='' read=''
		if ((i > 0)); then
			input="\"/in\" = step.s$((i - 1)).out" read='read x </in/x; '
		fi
		printf 'step "s%d" {\n  inputs = {\n    "/" = ware.base\n    %s\n  }\n' "$i" "$input"
		printf '  exec = ["/bin/sh", "-c", "%smkdir /out; echo %d %s >/out/x"]\n  outputs = { out = "/out" }\n}\n' "$read" "$i" "$1"
	done
}

timed() {
	local start end
	start=$(date +%s%N)
	"$kiln" run -q "$1" >/dev/null 2>"$tmp/err" || { cat "$tmp/err" >&2; exit 1; }
	end=$(date +%s%N)
	echo $((end - start))
}

median() { sort -n | awk -v name="$1" '{ a[NR] = $1 } END { printf "%s %.4f\n", name, a[int((NR + 1) / 2)] / 1e9 }'; }

for i in 0 1 2 3 4 5; do mkdir "$tmp/$i" && formula "salt$i" >"$tmp/$i/kiln.hcl"; done
timed "$tmp/0" >/dev/null # brings the root ware into the warehouse, as Nix's shell is in place
for i in 1 2 3 4 5; do timed "$tmp/$i"; done | median "kiln-chain-$steps-cold-$shell"
for i in 1 2 3 4 5; do timed "$tmp/5"; done | median "kiln-chain-$steps-noop-$shell"
