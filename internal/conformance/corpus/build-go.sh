#!/usr/bin/env bash
# Builds the Go programs of the corpus for wasip1 from pinned versions of their modules:
#
#	build-go.sh OUT [PROGRAM...]
#
# OUT receives PROGRAM.wasm for each program of the table below, and versions.txt. Without names it builds what is not there yet.
#
# Needs go, and the module proxy for what is not in the module cache. The sum of each program's module is compared with
# the table's; the module's own go.mod pins what it needs, and Go's checksum database vouches for that.
set -euo pipefail

if [[ $# -lt 1 ]]; then
	echo "usage: build-go.sh OUT [PROGRAM...]" >&2
	exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
mkdir -p "$out/log"

# program, module, version, its sum, package below the module
table='
esbuild github.com/evanw/esbuild v0.28.2 h1:A2uETn4jrQTcXaT/shwTDTYBxDjl7fV7nXmUrJxfA2w= /cmd/esbuild
shfmt mvdan.cc/sh/v3 v3.14.1 h1:bXkhQWNHCs0KZEChF8hYS6FC+T2N9mUZLbQv9blditI= /cmd/shfmt
gxz github.com/ulikunitz/xz v0.5.17 h1:flR0y/x1hgM8EGV1AW3Xll6T413G0glV8UfBwR617V4= /cmd/gxz
s2c github.com/klauspost/compress v1.20.4 h1:dD0v/bvxtjCBqQu6sx1TNWkalEY5lNTIe+HY9w8TeNI= /s2/cmd/s2c
yq github.com/mikefarah/yq/v4 v4.54.3 h1:1SnmdehRmL1Z56SuPH8IQUW3D73Q74F3mpGWW0jAb3E=
'

# build PROGRAM MODULE VERSION SUM [PACKAGE] leaves OUT/PROGRAM.wasm. A cross-compiled program goes to GOPATH/bin; modules stay in
# the cache of the machine.
build() {
	local name=$1 module=$2 version=$3 sum=$4 package=$2${5:-} got
	got=$(cd "$out" && go mod download -json "$module@$version" | sed -n 's/^\t"Sum": "\(.*\)",$/\1/p')
	if [[ $got != "$sum" ]]; then
		echo "build-go.sh: $module@$version has the sum $got, not $sum" >&2
		exit 1
	fi
	(cd "$out" && GOMODCACHE=$(go env GOMODCACHE) GOPATH=$out/gopath GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS='' \
		go install -trimpath -ldflags=-w "$package@$version" >"$out/log/$name.build" 2>&1) || {
		cat "$out/log/$name.build" >&2
		exit 1
	}
	mv "$(find "$out/gopath/bin" -type f -name "$name" | head -n 1)" "$out/$name.wasm"
	echo "$module $version, $(go env GOVERSION)" >"$out/log/$name.version"
}

for name; do
	if ! grep -q "^$name " <<<"$table"; then
		echo "build-go.sh: no program $name; there are:" $(awk '{print $1}' <<<"$table") >&2
		exit 2
	fi
done
while read -r name rest; do
	[[ -n $name ]] || continue
	if [[ $# -gt 0 ]]; then
		[[ " $* " == *" $name "* ]] || continue
	elif [[ -e $out/$name.wasm ]]; then
		continue
	fi
	echo "build $name" >&2
	# shellcheck disable=SC2086 # the columns of the table
	build "$name" $rest
done <<<"$table"
for file in "$out"/*.wasm; do
	name=$(basename "$file" .wasm)
	echo "$name $(cat "$out/log/$name.version")"
done >"$out/versions.txt"
