#!/bin/sh
# Fetches ONNX Runtime 1.24.1: its shared library with the licences, from PyPI's wheel onnxruntime.
#
# usage: sh src/backends/onnx/fetch.sh [--print]
#   (nothing)  makes CACHE/onnxruntime-1.24.1-ARCH/ with lib/ and the licences, unless it is there
#   --print    fetches nothing; says where the library is, status 1 if it is not there
# The last line on stdout is the folder. CACHE is $CADRE_CACHE, else $XDG_CACHE_HOME/cadre, else ~/.cache/cadre. 17 MB are downloaded, 23 MB stay; the
# wheel is removed once it is unpacked. The C header is not in the wheel: it lies in include/ beside this file.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../../examples/setup.sh"

version=1.24.1
recipe="onnxruntime $version, recipe 1"

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# choose_architecture : sets arch, wheel and sha; ends where there is no ready library.
choose_architecture() {
    case $(uname -m) in
    x86_64 | amd64) arch=x64 platform=x86_64 sha=1cabe71ca14dcfbf812d312aab0a704507ac909c137ee6e89e4908755d0fc60e ;;
    aarch64 | arm64) arch=arm64 platform=aarch64 sha=86bc43e922b1f581b3de26a3dc402149c70e5542fceb5bec6b3a85542dbeb164 ;;
    *) fail "no ready ONNX Runtime for $(uname -m): install one and use CADRE_ONNX_ENGINE=system" ;;
    esac
    wheel=onnxruntime-$version-cp311-cp311-manylinux_2_27_$platform.manylinux_2_28_$platform.whl
}

complete() {
    [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$recipe" ]
}

# attempt WHAT COMMAND... : runs it quietly; explains a failure.
attempt() {
    what=$1
    shift
    log=$("$@" 2>&1) || explain "$cache" "$log" "$what failed"
}

# The library lies under the name that programs look for, its SONAME.
make_engine() (
    part=$(make_part "$cache") || exit 1
    remove_on_exit "$part"
    fetch_pypi onnxruntime "$version" "$wheel" "$sha"
    say "unpacking ONNX Runtime $version to $engine"
    unzip_files "$cache/downloads/$wheel" "$part" "onnxruntime/capi/libonnxruntime.so.$version" onnxruntime/LICENSE onnxruntime/ThirdPartyNotices.txt
    mkdir -p "$part/engine/lib"
    attempt "unpacking $wheel" mv "$part/onnxruntime/capi/libonnxruntime.so.$version" "$part/engine/lib/libonnxruntime.so.1"
    attempt "unpacking $wheel" mv "$part/onnxruntime/LICENSE" "$part/engine/LICENSE.onnxruntime"
    attempt "unpacking $wheel" mv "$part/onnxruntime/ThirdPartyNotices.txt" "$part/engine/ThirdPartyNotices.onnxruntime"
    chmod 644 "$part/engine"/*.onnxruntime "$part/engine/lib"/*
    printf '%s\n' "$recipe" >"$part/engine/.stamp"
    rm -rf "$engine"
    attempt "renaming $part/engine to $engine" mv -T "$part/engine" "$engine"
)

only_print=
for argument in "$@"; do
    case $argument in
    --print) only_print=1 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && fail "unknown argument: $argument" ;;
    esac
done

choose_architecture
cache=$(cache_dir)
engine=$cache/onnxruntime-$version-$arch

if [ -n "$only_print" ]; then
    printf '%s\n' "$engine"
    complete "$engine" || exit 1
    exit 0
fi
if ! complete "$engine"; then
    lock_cache
    complete "$engine" || make_engine
    rm -f "$cache/downloads/$wheel"
fi
printf '%s\n' "$engine"
