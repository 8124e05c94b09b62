#!/bin/sh
# What packaging/check runs in a clean root where the deb is installed.
#
#	try.sh VERSION EXAMPLE.wasm    the last prints 820388082 for "work 10"
set -eu
version=$1 wasm=$2
export HOME=/tmp/home
mkdir "$HOME"

fail() {
	echo "try: $*" >&2
	exit 1
}

# equal NAME GOT WANT
equal() { [ "$2" = "$3" ] || fail "$1: got '$2', want '$3'"; }

echo "the command"
equal version "$(clonecloud version | sed -n '1s/^clonecloud \([^ ]*\).*/\1/p')" "$version"
equal 'run' "$(clonecloud run "$wasm" work 10)" 820388082
equal 'run --cloud local' "$(clonecloud run --cloud local --offload work --report /tmp/local.json "$wasm" work 10)" 820388082
grep -q '"offloads": *1' /tmp/local.json || fail "run --cloud local: nothing moved: $(cat /tmp/local.json)"
clonecloud demo --size small

echo "man pages"
pages=$(dpkg -L clonecloud | grep '^/usr/share/man/.*\.gz$') || fail "there are none"
for page in $pages; do
	text=$(man -l --warnings "$page" 2>/tmp/man.err) || fail "$page: man: $(cat /tmp/man.err)"
	[ ! -s /tmp/man.err ] || fail "$page: $(cat /tmp/man.err)"
	case $text in *NAME*) ;; *) fail "$page: it shows no name" ;; esac
done

echo "completion"
completion=/usr/share/bash-completion/completions/clonecloud
bash -n "$completion"
# shellcheck disable=SC2016 # bash expands it
equal "what bash completes" "$(bash -c '
	. /usr/share/bash-completion/bash_completion
	. "$1"
	compopt() { :; } # it works while a completion is under way alone
	COMP_LINE="clonecloud vers" COMP_POINT=15 COMP_WORDS=(clonecloud vers) COMP_CWORD=1 COMP_TYPE=9
	$(complete -p clonecloud | sed "s/.*-F \([^ ]*\) .*/\1/")
	echo "${COMPREPLY[*]}"
' bash "$completion")" version

echo "a node as the unit starts it"
unit=/lib/systemd/system/clonecloud-node.service
setting() { sed -n "s/^$1=//p" "$unit"; }
command=$(setting ExecStart)
[ -n "$command" ] || fail "$unit has no ExecStart"
export CLONECLOUD_NODE_FLAGS='--advertise 127.0.0.1:7311'
# A user that nothing belongs to but the state, as DynamicUser makes one, without ways to become another.
as="setpriv --reuid 61184 --regid 61184 --clear-groups --no-new-privs --bounding-set=-all"
equal "how the unit's user finds pages" "$($as clonecloud version | grep '^dirty pages')" "$(clonecloud version | grep '^dirty pages')"
sh -c "umask $(setting UMask); cd /; HOME=/ exec $as $command" 2>/tmp/node.log &
node=$!
tries=0
until [ -s /var/lib/clonecloud/address ]; do
	kill -0 "$node" 2>/dev/null || fail "the node ended: $(cat /tmp/node.log)"
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || fail "the node gives no address: $(cat /tmp/node.log)"
	sleep 0.1
done
equal 'mode of the address' "$(stat -c '%a %u' /var/lib/clonecloud/address)" '600 61184'
clonecloud cloud add unit file:///var/lib/clonecloud/address
clonecloud cloud status
equal 'run --cloud unit' "$(clonecloud run --cloud unit --offload work --report /tmp/unit.json "$wasm" work 10)" 820388082
grep -q '"offloads": *1' /tmp/unit.json || fail "run --cloud unit: nothing moved: $(cat /tmp/unit.json /tmp/node.log)"
kill -TERM "$node"
code=0
wait "$node" || code=$?
equal "the node's exit code after SIGTERM" "$code" 0
