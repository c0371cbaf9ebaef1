#!/bin/sh
# podman.sh LOG COMMAND...: runs a command beside podman's service, which keeps everything in a
# directory of its own and goes with it. As anybody; without root it needs subordinate ids.
set -e
log=$1
shift
dir=$(mktemp -d)
export XDG_RUNTIME_DIR=$dir/run XDG_CONFIG_HOME=$dir/config XDG_DATA_HOME=$dir/data
mkdir -m 700 "$XDG_RUNTIME_DIR"
mkdir -p "$XDG_CONFIG_HOME/containers"
# crun refuses machines with both kinds of cgroups; without systemd there is no journal.
cat >"$XDG_CONFIG_HOME/containers/containers.conf" <<CONF
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
CONF
export CONTAINERS_CONF=$XDG_CONFIG_HOME/containers/containers.conf
podman() { command podman --storage-driver overlay --root "$dir/root" --runroot "$dir/runroot" --tmpdir "$dir/tmp" "$@"; }
export DOCKER_HOST=unix://$dir/run/podman.sock
# In a session of its own, since podman becomes two processes; a third keeps its namespaces.
setsid podman --storage-driver overlay --root "$dir/root" --runroot "$dir/runroot" --tmpdir "$dir/tmp" system service --time=0 "$DOCKER_HOST" >"$log" 2>&1 &
service=$!
end() {
	podman rm --all --force >/dev/null 2>&1 || true
	kill -- -$service 2>/dev/null || true
	wait $service 2>/dev/null || true
	podman unshare rm -rf "$dir/root" "$dir/runroot" 2>/dev/null || true
	find "$dir" -name pause.pid -exec cat {} + 2>/dev/null | xargs -r kill -9 2>/dev/null || true
	rm -rf "$dir"
}
trap end EXIT
i=0
until [ -S "$dir/run/podman.sock" ]; do
	i=$((i + 1))
	[ $i -lt 300 ] && kill -0 $service || { echo "podman did not come up:"; tail -20 "$log"; exit 1; }
	sleep 0.1
done
"$@"
