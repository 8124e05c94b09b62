#!/usr/bin/env bash
# Builds the C programs of the corpus for wasm32-wasi from Debian's source packages:
#
#	build.sh OUT [PROGRAM...]
#
# OUT receives PROGRAM.wasm for each program of programs.json, and versions.txt: what was built from which source version.
# The sources stand under OUT/src. Without names it builds what is not there yet.
#
# Needs, on Debian 12: clang lld wasi-libc libclang-rt-14-dev-wasm32 dpkg-dev tcl. It reads Debian's source index with a private
# apt configuration inside OUT, so that it needs neither root nor a deb-src line on the machine. CORPUS_MIRROR and CORPUS_SUITE
# choose another mirror (http://deb.debian.org/debian) or suite (bookworm).
set -euo pipefail

if [[ $# -lt 1 ]]; then
	echo "usage: build.sh OUT [PROGRAM...]" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
mkdir -p "$out/src" "$out/obj" "$out/log"
mirror=${CORPUS_MIRROR:-http://deb.debian.org/debian}
suite=${CORPUS_SUITE:-bookworm}
export CC=${CLANG:-clang}

# Emulations that wasi-libc keeps out of libc proper; the linker takes only what is used.
compile=(--target=wasm32-wasi -O2 -w -I"$here/shim/include" -include "$here/shim/posix.h" -D_WASI_EMULATED_SIGNAL
	-D_WASI_EMULATED_MMAN -D_WASI_EMULATED_PROCESS_CLOCKS -D_WASI_EMULATED_GETPID)
link=(--target=wasm32-wasi -Wl,--strip-debug -Wl,-z,stack-size=1048576)
libraries=(-lwasi-emulated-signal -lwasi-emulated-mman -lwasi-emulated-process-clocks -lwasi-emulated-getpid)

# apt_setup points apt at an index of sources in OUT, once in a run.
apt_setup() {
	[[ ${APT_CONFIG:-} == "$out"/* ]] && return
	mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial"
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$out/apt/sources.list"
	cat >"$out/apt/apt.conf" <<-CONF
		Dir::Etc::sourcelist "$out/apt/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::lists "$out/apt/lists";
		Dir::Cache "$out/apt/cache";
		APT::Sandbox::User "$(id -un)";
		Acquire::Retries "3";
	CONF
	export APT_CONFIG=$out/apt/apt.conf
	apt-get -qq update
}

# source_of PACKAGE goes to the unpacked source of a Debian source package and sets $version.
source_of() {
	local at=$out/src/$1
	if [[ ! -e $at/.unpacked ]]; then
		apt_setup
		rm -rf "$at"
		mkdir -p "$at"
		cd "$at"
		apt-get source -qq --only-source "$1" >"$out/log/$1.source" 2>&1
		touch .unpacked
	fi
	version="$1 $(sed -n 's/^Version: //p' "$at"/*.dsc | head -n 1)"
	cd "$(find "$at" -mindepth 1 -maxdepth 1 -type d)"
}

# build PROGRAM FLAGS... -- SOURCES... compiles and links OUT/PROGRAM.wasm. The link goes without -O: with it clang runs wasm-opt,
# which drops the names of functions.
build() {
	local name=$1 flags=() objects
	shift
	while [[ $1 != -- ]]; do
		flags+=("$1")
		shift
	done
	shift
	objects=$out/obj/$name
	rm -rf "$objects"
	mkdir -p "$objects"
	local file number=100
	for file; do
		printf '%s\0%s\0' "$file" "$objects/$((number++)).o"
	done | xargs -0 -n 2 -P "$(getconf _NPROCESSORS_ONLN)" \
		bash -c 'file=${*: -2:1} object=${*: -1}; exec "$CC" "${@:1:$#-2}" -c "$file" -o "$object"' _ "${compile[@]}" "${flags[@]}"
	"$CC" "${link[@]}" "$objects"/*.o "${libraries[@]}" -o "$out/$name.wasm"
	echo "$version" >"$out/log/$name.version"
}

# has NAME... writes configuration headers' lines: "#define NAME 1".
has() { printf '#define %s 1\n' "$@"; }

prog_bzip2() {
	source_of bzip2
	build bzip2 -D_FILE_OFFSET_BITS=64 -- bzip2.c bzlib.c blocksort.c compress.c crctable.c decompress.c huffman.c randtable.c
}

prog_minigzip() {
	source_of zlib
	build minigzip -DHAVE_UNISTD_H -I. -- test/minigzip.c adler32.c crc32.c deflate.c gzclose.c gzlib.c gzread.c gzwrite.c \
		infback.c inffast.c inflate.c inftrees.c trees.c zutil.c compress.c uncompr.c
}

prog_lz4() {
	source_of lz4
	build lz4 -Ilib -- programs/{lz4cli,lz4io,bench,datagen}.c lib/{lz4,lz4hc,lz4frame,lz4file,xxhash}.c
}

prog_zstd() {
	source_of libzstd
	build zstd -DZSTD_DISABLE_ASM -DZSTD_NOTRACE -DBACKTRACE_ENABLE=0 -DZSTD_LEGACY_SUPPORT=0 -Ilib -Ilib/common -- \
		programs/{zstdcli,util,timefn,fileio,fileio_asyncio,benchfn,benchzstd,datagen,dibio,zstdcli_trace}.c \
		lib/common/*.c lib/compress/*.c lib/decompress/*.c lib/dictBuilder/*.c
}

prog_brotli() {
	source_of brotli
	build brotli -Ic/include -- c/tools/brotli.c c/common/*.c c/dec/*.c c/enc/*.c
}

prog_cmark() {
	source_of cmark
	mkdir -p "$out/obj/cmark-config"
	sed 's/#cmakedefine \(HAVE_STDBOOL_H\|HAVE___BUILTIN_EXPECT\|HAVE___ATTRIBUTE__\)/#define \1 1/; s/#cmakedefine/#undef/; s/@[^@]*@//g' \
		src/config.h.in >"$out/obj/cmark-config/config.h"
	sed 's/@PROJECT_VERSION[A-Z_]*@/0/g' src/cmark_version.h.in >"$out/obj/cmark-config/cmark_version.h"
	echo '#define CMARK_EXPORT
#define CMARK_NO_EXPORT' >"$out/obj/cmark-config/cmark_export.h"
	build cmark -I"$out/obj/cmark-config" -Isrc -- src/*.c
}

prog_xmlwf() {
	source_of expat
	has HAVE_UNISTD_H HAVE_STDINT_H HAVE_ARC4RANDOM_BUF XML_NS XML_DTD STDC_HEADERS >expat_config.h
	printf '#define XML_CONTEXT_BYTES 1024\n#define BYTEORDER 1234\n#define XML_POOR_ENTROPY 1\n#undef HAVE_ARC4RANDOM_BUF\n' >>expat_config.h
	build xmlwf -I. -Iexpat/lib -- expat/xmlwf/{xmlwf,xmlfile,codepage,readfilemap}.c expat/lib/{xmlparse,xmlrole,xmltok}.c
}

prog_zopfli() {
	source_of zopfli
	build zopfli -- src/zopfli/*.c
}

prog_picosat() {
	source_of picosat
	echo '#define PICOSAT_CC "cc"
#define PICOSAT_CFLAGS ""
#define PICOSAT_VERSION "0"' >config.h
	build picosat -DNDEBUG -DNGETRUSAGE -I. -- picosat.c version.c app.c main.c
}

prog_clzip() {
	source_of clzip
	build clzip '-DPROGVERSION="0"' -- main.c carg_parser.c lzip_index.c list.c encoder_base.c encoder.c fast_encoder.c decoder.c
}

prog_cwebp() {
	source_of libwebp
	build cwebp -I. -Isrc -- examples/{cwebp,example_util}.c imageio/{image_dec,imageio_util,jpegdec,metadata,pngdec,pnmdec,tiffdec,webpdec}.c \
		src/{dec,demux,dsp,enc,utils}/*.c sharpyuv/*.c
}

prog_dwebp() {
	source_of libwebp
	build dwebp -I. -Isrc -- examples/{dwebp,example_util}.c \
		imageio/{image_dec,image_enc,imageio_util,jpegdec,metadata,pngdec,pnmdec,tiffdec,webpdec}.c src/{dec,demux,dsp,enc,utils}/*.c
}

prog_cjpeg() {
	jpeg_config
	build cjpeg -DPPM_SUPPORTED -DBMP_SUPPORTED -I. -- cjpeg.c cdjpeg.c rd{bmp,ppm,switch}.c $jpeg_library
}

prog_djpeg() {
	jpeg_config
	build djpeg -DPPM_SUPPORTED -DBMP_SUPPORTED -I. -- djpeg.c cdjpeg.c rd{colmap,switch}.c wr{bmp,ppm}.c $jpeg_library
}

# jpeg_config writes the headers that cmake would, and sets $jpeg_library to the sources of libjpeg.
jpeg_config() {
	source_of libjpeg-turbo
	{
		has C_ARITH_CODING_SUPPORTED D_ARITH_CODING_SUPPORTED MEM_SRCDST_SUPPORTED
		printf '#define JPEG_LIB_VERSION 62\n#define LIBJPEG_TURBO_VERSION 2.1.5\n#define LIBJPEG_TURBO_VERSION_NUMBER 2001005\n'
		printf '#define BITS_IN_JSAMPLE 8\n'
	} >jconfig.h
	{
		printf '#define BUILD ""\n#define INLINE inline\n#define THREAD_LOCAL\n#define PACKAGE_NAME "libjpeg"\n#define VERSION "2.1.5"\n'
		printf '#define SIZEOF_SIZE_T 4\n#define HAVE_BUILTIN_CTZL 1\n#define FALLTHROUGH\n'
	} >jconfigint.h
	sed 's/@[A-Z_]*@/0/' jversion.h.in >jversion.h
	jpeg_library=$(sed -n '/^set(JPEG_SOURCES jcapimin/,/)/p' CMakeLists.txt | grep -o '[a-z0-9]*\.c' | tr '\n' ' ')
	jpeg_library+="jaricom.c jcarith.c jdarith.c jsimd_none.c"
}

prog_tinyscheme() {
	source_of tinyscheme
	build tinyscheme -DSTANDALONE=1 -DUSE_DL=0 -DUSE_MATH=1 -DUSE_ASCII_NAMES=0 '-DInitFile="/init.scm"' -I. -- scheme.c
	cp init.scm "$out/init.scm"
}

prog_sqlite3() {
	source_of sqlite3
	if [[ ! -e amalgamation/sqlite3.c ]]; then
		rm -rf amalgamation
		mkdir amalgamation
		(cd amalgamation && ../configure --disable-tcl --disable-readline >"$out/log/sqlite3.configure" 2>&1 &&
			make sqlite3.c shell.c >"$out/log/sqlite3.make" 2>&1)
	fi
	build sqlite3 -Iamalgamation -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_WAL -DSQLITE_NOHAVE_SYSTEM \
		-DSQLITE_OMIT_POPEN -DSQLITE_ENABLE_FTS4 -DSQLITE_ENABLE_RTREE -DSQLITE_TEMP_STORE=2 -- amalgamation/{sqlite3,shell}.c
}

programs=$(compgen -A function prog_ | sed s/prog_//)
if [[ $# -gt 0 ]]; then
	wanted=$*
else
	wanted=$programs
fi
for name in $wanted; do
	if [[ $# -eq 0 && -e $out/$name.wasm ]]; then
		continue
	fi
	if ! declare -F "prog_$name" >/dev/null; then
		echo "build.sh: no program $name; there are:" $programs >&2
		exit 2
	fi
	echo "build $name" >&2
	"prog_$name"
done
for file in "$out"/*.wasm; do
	name=$(basename "$file" .wasm)
	echo "$name $(cat "$out/log/$name.version")"
done >"$out/versions.txt"
