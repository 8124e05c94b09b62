#!/usr/bin/env bash
# Does what a newcomer does, on a machine that has nothing but Go and git: clones the repository, runs README's two
# commands and the tutorial, as these pages stand in the last commit, and prints how long each took. A clean root of
# Debian 12 plays the machine; module and build caches are empty. It stops at the first step that fails.
#
#	packaging/newcomer.sh [PART...]    parts: clone first second tutorial; default: all of them
#	packaging/newcomer.sh -list        print README's commands, and the tutorial's as bash
#
# It takes root and the network. NEWCOMER_ROOT=DIR keeps the root there; otherwise it is removed.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/root.sh

readme() { awk -v kind=readme -f packaging/commands.awk "$1/README.md"; }
tutorial() { awk -v kind=console -f packaging/commands.awk "$1/docs/tutorial.md"; }

if [[ ${1:-} == -list ]]; then
	readme .
	tutorial .
	exit
fi

parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(clone first second tutorial)
for p in "${parts[@]}"; do
	case $p in
	clone | first | second | tutorial) ;;
	*) echo "newcomer: no part $p; there are clone, first, second, tutorial" >&2 && exit 2 ;;
	esac
done
why=$(root_why)
[[ -z $why ]] || { echo "newcomer: no clean root can be made here: $why" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=${NEWCOMER_ROOT:-$work/root}
if [[ -e $root && -n $(ls -A "$root") ]]; then
	echo "newcomer: $root is not empty" >&2
	exit 2
fi

echo "== a machine with Go and git: $root"
root_make "$root" git ca-certificates
cp -r "$(go env GOROOT)" "$root/usr/local/go"
git clone --quiet --bare . "$root/srv/clonecloud.git"
# How the network is reached from here is no part of the pages.
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
for f in $(grep -ils proxy /etc/apt/apt.conf /etc/apt/apt.conf.d/* || true); do
	cp "$f" "$root/etc/apt/apt.conf.d/"
done
for name in GOPROXY GOSUMDB GONOSUMDB GOPRIVATE; do
	export "$name=$(go env "$name")"
done
root_run -n "$root" apt-get -qq update

# play NAME FOLDER runs the commands of standard input in the root, in one bash, and notes their times.
play() {
	{
		cat <<'HEAD'
export PATH=$PATH:/usr/local/go/bin
# step LINE COMMAND ends the one before.
step() {
	local now=${EPOCHREALTIME/./}
	[[ -z ${step_title:-} ]] || printf '%s\t%s\n' "$(((now - step_began) / 1000))" "$step_title" >>/root/times
	step_title=${2:-} step_line=$1
	[[ -z $step_title ]] || echo "+ $step_title"
	step_began=${EPOCHREALTIME/./}
}
trap 'echo "newcomer: line $step_line of the page fails: $step_title" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
set -eE
HEAD
		echo "cd $2"
		cat
		echo "step 0"
	} >"$root/root/play-$1"
	root_run -n "$root" bash "/root/play-$1"
}

one() { printf "step %s '%s'\n%s\n" "$1" "$2" "$2"; }

checkout=/root/clonecloud
for p in "${parts[@]}"; do
	echo "== $p"
	case $p in
	clone) one 0 "git clone /srv/clonecloud.git" | play clone /root ;;
	first | second)
		n=1
		[[ $p == first ]] || n=2
		one "$n" "$(readme "$root$checkout" | sed -n "${n}p")" | play "$p" "$checkout"
		;;
	tutorial) tutorial "$root$checkout" | play tutorial "$checkout" ;;
	esac
done

echo
echo "seconds  step"
awk -F '\t' '{ printf "%7.1f  %s\n", $1 / 1000, $2; all += $1 } END { printf "%7.1f  in all\n", all / 1000 }' "$root/root/times"
