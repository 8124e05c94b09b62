#!/usr/bin/env bash
# Builds by hand the rootfs that the last stage of packaging/Dockerfile describes, starts its node as an image's
# ENTRYPOINT and USER say, and runs a program against it. It takes root; packaging/check calls it.
#
#	packaging/image.sh ARCHIVE DIR    an archive of this machine's platform; the rootfs goes into DIR
#
# The archive of the Dockerfile's is the one with wasmtime; of that it is seen that the clone runs on it.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/root.sh
archive=$1 dir=$2

# field NAME prints the argument of the last instruction of that name.
field() { sed -n "s/^$1 //p" packaging/Dockerfile | tail -1; }
user=$(field USER)
volume=$(field VOLUME)
read -ra entry < <(field ENTRYPOINT | tr -d '[],"')

mkdir -p "$dir"
# What the build stage unpacks.
read -ra unpack < <(sed -n "s/.*tar -xzf .*--wildcards \('.*'\).*/\1/p" packaging/Dockerfile | tr -d "'")
[[ ${#unpack[@]} -gt 0 ]] || { echo "image: packaging/Dockerfile unpacks no archive" >&2; exit 1; }
tar -xzf "$archive" -C "$dir" --strip-components=1 --wildcards "${unpack[@]}"
install -d -m 0700 -o "${user%:*}" -g "${user#*:}" "$dir$volume"
chown 0:0 "$dir"/*
[[ $(sed -n '/^FROM scratch/,$s/^COPY .* //p' packaging/Dockerfile) == $'/\n'"${volume%/*}/" ]] ||
	{ echo "image: the last stage copies something else than this script does" >&2; exit 1; }
# The runtime mounts these; nothing else is there: no /tmp, no shell, no libraries, no certificates.
mkdir "$dir/proc" "$dir/dev" "$dir/sys"

# child PID prints the first child of a process.
child() { cut -d' ' -f1 "/proc/$1/task/$1/children"; }

out=$(mktemp -d)
port=$((20000 + RANDOM % 20000))
root_run -n -r -u "$user" "$dir" "${entry[@]}" --listen "127.0.0.1:$port" --advertise "127.0.0.1:$port" >"$out/address" 2>"$out/log" &
node=$!
cleanup() {
	# --kill-child takes the node along.
	kill -KILL "$(child "$node")" 2>/dev/null || true
	rm -rf "$out"
}
trap cleanup EXIT
for ((i = 0; i < 300; i++)); do
	[[ ! -s $out/address ]] || break
	kill -0 "$node" 2>/dev/null || { echo "image: the node ended:" >&2; cat "$out/log" >&2; exit 1; }
	sleep 0.1
done

mkdir "$out/home"
device() { HOME=$out/home XDG_CACHE_HOME=$out/home XDG_CONFIG_HOME=$out/home "$dir/clonecloud" "$@"; }
device cloud add image "file://$out/address"
got=$(device run --cloud image --offload work --report "$out/report" cmd/clonecloud/testdata/guest.wasm work 10)
[[ $got == 820388082 ]] || { echo "image: a run against it printed $got, want 820388082" >&2; exit 1; }
grep -q '"offloads": *1' "$out/report" || { echo "image: nothing moved:" >&2; cat "$out/report" "$out/log" >&2; exit 1; }
if [[ $archive == *_wasmtime.* ]] && ! grep -q wasmtime "$out/report"; then
	echo "image: the clone does not run on wasmtime:" >&2
	cat "$out/report" "$out/log" >&2
	exit 1
fi

# The node is process 1 of its namespace, as in a container, and SIGTERM drains it.
kill -TERM "$(child "$(child "$node")")" # of the subshell, then of unshare
for ((i = 0; i < 450; i++)); do
	kill -0 "$node" 2>/dev/null || break
	sleep 0.1
done
! kill -0 "$node" 2>/dev/null || { echo "image: 45 s after SIGTERM the node is still there:" >&2; cat "$out/log" >&2; exit 1; }
code=0
wait "$node" || code=$?
[[ $code == 0 ]] || { echo "image: the node ended with $code after SIGTERM:" >&2; cat "$out/log" >&2; exit 1; }
trap - EXIT
rm -rf "$out"
