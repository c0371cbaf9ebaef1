#!/bin/bash
# steps.sh: times kiln run -q, as a whole process, on trivial steps. Prints NAME SECONDS, the
# median of 5.
#   steps.sh KILN chain [STEPS] [busybox|toolbox]
#     each step has the output of the one before mounted; its own is packed and remembered
#   steps.sh KILN wide [STEPS] [busybox|toolbox]
#     steps that need nothing and make nothing, one at a time and one per core; also a row
#     for what one of them costs beyond a run of one step
#   steps.sh KILN shared [STEPS] [busybox|toolbox]
#     a chain that kiln serve remembers, in new directories, and in turn with that the same
#     chain where nothing has changed; also their ratio, the median of 15 pairs. On ext4,
#     where much was deleted within the last half minute, making files takes several times as
#     long: TMPDIR=/dev/shm leaves that out
# The steps run BusyBox's shell (Debian: busybox-static), as the peers' do, or the toolbox's.
set -euo pipefail
kiln=$(realpath "$1") shape=$2 steps=${3:-50} shell=${4:-busybox}
tmp=$(mktemp -d)
server=
trap 'if [ "$server" ]; then kill "$server"; wait "$server" || true; fi; chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
export KILN_DATA_HOME=$tmp/data KILN_CACHE_HOME=$tmp/cache KILN_CONFIG_HOME=$tmp/config

base='builtin = "toolbox"'
if [ "$shell" = busybox ]; then
	mkdir -p "$tmp/base/bin"
	cp "$(command -v busybox)" "$tmp/base/bin/sh"
	base="path = \"$tmp/base\""
fi

# formula SALT STEPS: no two salts have a step in common.
formula() {
	local i input read
	echo "ware \"base\" { $base }"
	if [ "$shape" = wide ]; then
		for ((i = 0; i < $2; i++)); do
			printf 'step "s%d" {\n  inputs = { "/" = ware.base, "$SALT" = "%s %d" }\n  exec = ["/bin/sh", "-c", "true"]\n}\n' "$i" "$1" "$i"
		done
		return
	fi
	for ((i = 0; i < $2; i++)); do
		input='' read=''
		if ((i > 0)); then
			input="\"/in\" = step.s$((i - 1)).out" read='read x </in/x; '
		fi
		printf 'step "s%d" {\n  inputs = {\n    "/" = ware.base\n    %s\n  }\n' "$i" "$input"
		printf '  exec = ["/bin/sh", "-c", "%smkdir /out; echo %d %s >/out/x"]\n  outputs = { out = "/out" }\n}\n' "$read" "$i" "$1"
	done
}

# timed NAME DIR FLAGS...: the wall time of one run in nanoseconds.
timed() {
	local start end
	start=$(date +%s%N)
	"$kiln" run -q "$@" >/dev/null 2>"$tmp/err" || { cat "$tmp/err" >&2; exit 1; }
	end=$(date +%s%N)
	echo $((end - start))
}

median() { sort -n | awk -v name="$1" '{ a[NR] = $1 } END { printf "%s %.4f\n", name, a[int((NR + 1) / 2)] / 1e9 }'; }

# make SALT STEPS: a formula in a directory of its own.
make() { mkdir -p "$tmp/$1" && formula "$1" "$2" >"$tmp/$1/kiln.hcl"; }

make first 1
timed "$tmp/first" >/dev/null # brings the root ware into the warehouse, as Nix's shell is in place
for i in 1 2 3 4 5; do make "salt$i" "$steps"; make "one$i" 1; done
case $shape in
chain)
	for i in 1 2 3 4 5; do timed "$tmp/salt$i"; done | median "kiln-chain-$steps-cold-$shell"
	for i in 1 2 3 4 5; do timed "$tmp/salt5"; done | median "kiln-chain-$steps-noop-$shell"
	;;
wide)
	for jobs in 1 "$(nproc)"; do
		one=$(for i in 1 2 3 4 5; do timed "$tmp/one$i" --force -j "$jobs"; done | median one | cut -d' ' -f2)
		all=$(for i in 1 2 3 4 5; do timed "$tmp/salt$i" --force -j "$jobs"; done | median all | cut -d' ' -f2)
		echo "kiln-wide-$steps-j$jobs-$shell $all"
		echo "kiln-one-sandbox-j$jobs-$shell $(echo "scale=4; ($all - $one) / ($steps - 1)" | bc | sed 's/^\./0./')"
	done
	;;
shared)
	"$kiln" key new >"$tmp/key" 2>"$tmp/err" # who reads has the key that has signed, so trusts it
	mkfifo "$tmp/address"
	KILN_DATA_HOME=$tmp/served "$kiln" serve --no-local --listen localhost:0 >"$tmp/address" 2>"$tmp/serve.log" &
	server=$!
	read -r address <"$tmp/address" # it says where it listens, or nothing if it cannot
	printf 'warehouse "team" {\n  url = "grpc://%s"\n  push = "all"\n}\n' "$address" >"$tmp/config/config.hcl"
	timed "$tmp/salt1" >/dev/null
	for ((i = 1; i <= 15; i++)); do
		new=$(KILN_DATA_HOME=$tmp/data$i KILN_CACHE_HOME=$tmp/cache$i timed "$tmp/salt1")
		same=$(KILN_CONFIG_HOME=$tmp/none timed "$tmp/salt1")
		echo "$new $same"
	done >"$tmp/pairs"
	cut -d' ' -f1 "$tmp/pairs" | median "kiln-shared-$steps-new-$shell"
	cut -d' ' -f2 "$tmp/pairs" | median "kiln-shared-$steps-noop-$shell"
	awk '{ print $1 / $2 * 1e9 }' "$tmp/pairs" | median "kiln-shared-$steps-ratio-$shell"
	;;
*) exit 2 ;;
esac
