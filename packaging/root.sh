# shellcheck shell=bash
# Clean roots, for the scripts beside this file, which source it. They need root, mmdebstrap, and leave to unshare;
# what they mount is in a namespace of its own and goes with it.

# root_why prints why there can be no clean root here; nothing: there can.
root_why() {
	if [[ $(uname -s) != Linux ]]; then
		echo "this is not Linux"
	elif [[ $EUID != 0 ]]; then
		echo "it takes root"
	elif ! command -v mmdebstrap unshare setpriv >/dev/null; then
		echo "mmdebstrap, unshare or setpriv is not installed"
	elif ! unshare --mount --pid --net --fork --kill-child true 2>/dev/null; then
		echo "namespaces are refused"
	fi
}

# root_make DIR [PACKAGE...] unpacks a minimal Debian 12 with the packages into DIR. CI_CACHE keeps it for the next time.
root_make() {
	local dir=$1 cache=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/clonecloud-ci}/roots list tar
	shift
	list=$(IFS=,; echo "$*")
	tar=$cache/bookworm${list:+-${list//,/-}}.tar
	# A month is how long its packages may be behind.
	if [[ ! -f $tar || -n $(find "$tar" -mtime +30) ]]; then
		mkdir -p "$cache"
		if ! mmdebstrap --quiet --variant=minbase ${list:+--include="$list"} bookworm "$tar.new.tar" \
			"deb http://deb.debian.org/debian bookworm main" >&2; then
			rm -f "$tar.new.tar"
			[[ -f $tar ]] || return 1
			echo "no fresh root can be had: one of $(date -r "$tar" +%F) is used" >&2
		else
			mv "$tar.new.tar" "$tar"
		fi
	fi
	mkdir -p "$dir"
	tar -C "$dir" --exclude='./dev/*' -xpf "$tar"
}

# root_run [-n] [-r] [-u UID:GID] DIR COMMAND... runs a command with DIR as its root, processes and a /tmp of its own,
# and a plain environment. -n: with the machine's network and the variables that it needs; otherwise there is only a
# loopback. -r: with DIR read-only but for /var/lib/clonecloud, and processes of others hidden, as the unit asks for.
root_run() {
	local network="" readonly="" user=0:0 isolate=(--mount --pid --fork --kill-child --propagation private)
	while [[ $1 == -? ]]; do
		case $1 in
		-n) network=1 ;;
		-r) readonly=1 ;;
		-u) user=$2 && shift ;;
		esac
		shift
	done
	[[ -n $network ]] || isolate+=(--net)
	# shellcheck disable=SC2016 # the inner shell expands its own
	unshare "${isolate[@]}" bash -euc '
		dir=$1 readonly=$2 network=$3 user=$4
		shift 4
		plain=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
		if [[ -z $network ]]; then
			ip link set lo up
		else
			for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY GOPROXY GOSUMDB GONOSUMDB GOFLAGS; do
				[[ -z ${!name:-} ]] || plain+=("$name=${!name}")
			done
		fi
		mount --bind "$dir" "$dir"
		if [[ -n $readonly ]]; then
			mount -o remount,ro,bind "$dir"
			state=$dir/var/lib/clonecloud
			[[ ! -d $state ]] || { mount --bind "$state" "$state" && mount -o remount,rw,bind "$state"; }
		fi
		[[ ! -d $dir/proc ]] || mount -t proc ${readonly:+-o hidepid=invisible} proc "$dir/proc"
		[[ ! -d $dir/dev ]] || mount --rbind /dev "$dir/dev"
		[[ ! -d $dir/sys ]] || mount --rbind /sys "$dir/sys"
		[[ ! -d $dir/tmp ]] || mount -t tmpfs -o mode=1777 tmp "$dir/tmp"
		exec env -i "${plain[@]}" chroot --userspec="$user" "$dir" "$@"
	' bash "$1" "$readonly" "$network" "$user" "${@:2}"
}
