#!/usr/bin/env bash
# Builds the Rust programs of the corpus for wasm32-wasi from Debian's crates, with Debian's compiler:
#
#	build-rust.sh OUT [PROGRAM...]
#	build-rust.sh --pin OUT           write rust.packages anew: the crates of Debian that the programs need today
#
# OUT receives PROGRAM.wasm for each program below, and versions.txt. Without names it builds what is not there yet. The
# crates stand under OUT/registry, from which cargo takes all of them: nothing comes from elsewhere.
#
# Needs, on Debian 12: rustc cargo libstd-rust-dev-wasm32 dpkg-dev. It fetches packages with a private apt configuration inside OUT and
# unpacks them there, so that it needs neither root nor a deb-src line on the machine. rust.packages pins name, version and
# SHA-256 of each. CORPUS_MIRROR and CORPUS_SUITE choose another mirror or suite.
set -euo pipefail

pin=
if [[ ${1:-} == --pin ]]; then
	pin=1
	shift
fi
if [[ $# -lt 1 ]]; then
	echo "usage: build-rust.sh [--pin] OUT [PROGRAM...]" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
mkdir -p "$out/src" "$out/log" "$out/deb" "$out/cargo"
mirror=${CORPUS_MIRROR:-http://deb.debian.org/debian}
suite=${CORPUS_SUITE:-bookworm}
registry=$out/registry/usr/share/cargo/registry

# Program, crate, version. ripgrep comes from a source package; the others are crates whose programs Debian ships as source too.
table='
hexyl hexyl 0.8.0
sha1cdsum sha1collisiondetection 0.2.6
xml-analyze xml-rs 0.8.3
pulldown-cmark pulldown-cmark 0.9.2
lalrpop lalrpop 0.19.8
rg ripgrep 13.0.0
'
source_packages="rust-ripgrep=13.0.0-4"

# apt_setup points apt at indexes in OUT and a machine without packages, once in a run.
apt_setup() {
	[[ ${APT_CONFIG:-} == "$out"/* ]] && return
	mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial"
	: >"$out/apt/status"
	local kind
	for kind in deb deb-src; do
		echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
	done >"$out/apt/sources.list"
	cat >"$out/apt/apt.conf" <<-CONF
		Dir::Etc::sourcelist "$out/apt/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::lists "$out/apt/lists";
		Dir::State::status "$out/apt/status";
		Dir::Cache "$out/apt/cache";
		APT::Sandbox::User "$(id -un)";
		Acquire::Retries "3";
	CONF
	export APT_CONFIG=$out/apt/apt.conf
	apt-get -qq update
}

# closure prints the packages of crates that the programs need, themselves among them.
closure() {
	local crates=()
	mapfile -t crates < <(awk 'NF && $2 != "ripgrep" {print "librust-" $2 "-dev"}' <<<"$table")
	{
		apt-get -s install --no-install-recommends "${crates[@]}"
		apt-get -s build-dep --only-source "${source_packages%%=*}"
	} | sed -n 's/^Inst \(librust-[^ ]*\) .*/\1/p' | sort -u
}

# write_pin makes rust.packages of what apt would take today.
write_pin() {
	apt_setup
	rm -f "$out"/deb/*.deb
	local names=()
	mapfile -t names < <(closure)
	(cd "$out/deb" && apt-get -qq download "${names[@]}")
	local file
	for file in "$out"/deb/*.deb; do
		echo "$(dpkg-deb -f "$file" Package) $(dpkg-deb -f "$file" Version) $(sha256sum <"$file" | cut -d' ' -f1)"
	done | sort >"$here/rust.packages"
}

# crates fetches what rust.packages names, checks it and lays the registry out.
crates() {
	[[ -e $out/registry/.complete && ! $here/rust.packages -nt $out/registry/.complete ]] && return
	apt_setup
	local name version sum file missing=()
	while read -r name version sum; do
		compgen -G "$out/deb/${name}_${version/:/%3a}_*.deb" >/dev/null || missing+=("$name=$version")
	done <"$here/rust.packages"
	if [[ ${#missing[@]} -gt 0 ]] && ! (cd "$out/deb" && apt-get -qq download "${missing[@]}" >"$out/log/download" 2>&1); then
		cat "$out/log/download" >&2
		echo "build-rust.sh: $mirror does not have the packages of rust.packages; 'build-rust.sh --pin OUT' pins what it has" >&2
		exit 1
	fi
	rm -rf "$out/registry"
	mkdir -p "$out/registry"
	while read -r name version sum; do
		file=$(compgen -G "$out/deb/${name}_${version/:/%3a}_*.deb")
		if [[ $(sha256sum <"$file" | cut -d' ' -f1) != "$sum" ]]; then
			echo "build-rust.sh: $file is not the package that rust.packages pins; remove it and try again" >&2
			exit 1
		fi
		dpkg-deb -x "$file" "$out/registry"
	done <"$here/rust.packages"
	adapt
	touch "$out/registry/.complete"
}

# adapt makes crates of source packages that are no package of crates, and lets grep-cli know of systems that are neither Unix nor
# Windows, as its later versions do: nothing is piped there.
adapt() {
	cd "$out/src"
	local package
	for package in $source_packages; do
		apt-get source -qq --only-source "$package" >"$out/log/${package%%=*}.source" 2>&1 || {
			cat "$out/log/${package%%=*}.source" >&2
			exit 1
		}
	done
	rm -rf "$registry/ripgrep-13.0.0"
	cp -R rust-ripgrep-13.0.0 "$registry/ripgrep-13.0.0"
	rm -f "$registry/ripgrep-13.0.0/Cargo.lock"
	echo '{"package":"","files":{}}' >"$registry/ripgrep-13.0.0/.cargo-checksum.json"
	sed -i 's/^    !is_tty_stdin() && imp()/    #[cfg(not(any(unix, windows)))]\n    fn imp() -> bool {\n        false\n    }\n\n&/' \
		"$registry"/grep-cli-*/src/lib.rs
}

# build PROGRAM CRATE VERSION leaves OUT/PROGRAM.wasm. Debian's errno crate asks for thread_local, which this compiler has behind a switch.
build() {
	cat >"$out/cargo/config.toml" <<-CONF
		[source.crates-io]
		replace-with = "debian"
		[source.debian]
		directory = "$registry"
	CONF
	env -u RUSTUP_TOOLCHAIN CARGO_HOME="$out/cargo" RUSTC="${RUSTC:-/usr/bin/rustc}" RUSTC_BOOTSTRAP=1 RUSTFLAGS="-C strip=debuginfo" \
		"${CARGO:-/usr/bin/cargo}" install --offline --force --target wasm32-wasi --root "$out/installed" --target-dir "$out/target" \
		--version "=$3" --bin "$1" "$2" >"$out/log/$1.build" 2>&1 || {
		cat "$out/log/$1.build" >&2
		exit 1
	}
	cp "$out/installed/bin/$1.wasm" "$out/$1.wasm"
	echo "$2 $3, $("${RUSTC:-/usr/bin/rustc}" --version)" >"$out/log/$1.version"
}

if [[ -n $pin ]]; then
	write_pin
	exit
fi
for name; do
	if ! grep -q "^$name " <<<"$table"; then
		echo "build-rust.sh: no program $name; there are:" $(awk '{print $1}' <<<"$table") >&2
		exit 2
	fi
done
while read -r name crate version; do
	[[ -n $name ]] || continue
	if [[ $# -gt 0 ]]; then
		[[ " $* " == *" $name "* ]] || continue
	elif [[ -e $out/$name.wasm ]]; then
		continue
	fi
	crates
	echo "build $name" >&2
	cd "$out"
	build "$name" "$crate" "$version" </dev/null
done <<<"$table"
rm -rf "$out/target" # a gigabyte that only another build would use
for file in "$out"/*.wasm; do
	name=$(basename "$file" .wasm)
	echo "$name $(cat "$out/log/$name.version")"
done >"$out/versions.txt"
