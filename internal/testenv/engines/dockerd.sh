#!/bin/sh
# dockerd.sh LOG COMMAND...: runs a command with a Docker Engine of its own, in mount, network and
# pid namespaces of its own, so that nothing of it stays. As root.
[ "$KILN_INNER" ] || KILN_INNER=1 exec unshare --mount --net --pid --fork --kill-child --mount-proc sh "$0" "$@"
set -e
log=$1
shift
for dir in /run /var/lib /etc/docker; do
	mkdir -p $dir
	mount -t tmpfs tmpfs $dir
done
export DOCKER_HOST=unix:///run/docker.sock DOCKER_CONFIG=/run/config
dockerd --host $DOCKER_HOST --bridge none --iptables=false --ip6tables=false >"$log" 2>&1 &
i=0
until docker version >/dev/null 2>&1; do
	i=$((i + 1))
	[ $i -lt 300 ] && kill -0 $! || { echo "dockerd did not come up:"; tail -20 "$log"; exit 1; }
	sleep 0.1
done
"$@"
