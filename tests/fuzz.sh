#!/bin/sh
# Fuzzes cadre with libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer.
#
# usage: sh tests/fuzz.sh TARGET SECONDS [-- OPTION...]
#        sh tests/fuzz.sh --minimize TARGET | --list | --help
#   TARGET      one of --list, or all: each for SECONDS
#   OPTION      passed on to libFuzzer (-jobs=2, -max_len=4096, -seed=1, …)
#   --minimize  replaces tests/fuzz/corpus/TARGET by the smallest inputs of it and of build/fuzz/corpus/TARGET that reach the same code
# Inputs that reach new code are kept in build/fuzz/corpus/TARGET. An input that fails is written to build/fuzz with the command that runs it again, and the
# exit status is 1. Installs the packages that it needs (apt-get, with sudo unless root). The targets are tests/fuzz/fuzz_*.c.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$top/examples/setup.sh"
build=$top/build/fuzz

# targets : those that this tree can build, one a line.
targets() {
    for file in "$here"/fuzz/fuzz_*.c; do
        name=${file##*/fuzz_}
        case $name in
        model.c | api_*) continue ;;
        manifest.c) [ -e "$top/src/registry/manifest.c" ] || continue ;;
        image.c) [ -e "$top/src/images/CMakeLists.txt" ] || continue ;;
        esac
        printf '%s\n' "${name%.c}"
    done
}

# find_clang : prints a clang that has libFuzzer; installs one if there is none.
find_clang() (
    for clang in "${CLANG:-clang}" clang-19 clang-18 clang-17 clang-16 clang-15 clang-14; do
        command -v "$clang" >/dev/null 2>&1 || continue
        [ -e "$("$clang" -print-file-name="libclang_rt.fuzzer-$(uname -m).a")" ] || [ -e "$("$clang" -print-runtime-dir)/libclang_rt.fuzzer.a" ] ||
            [ -e "$("$clang" -print-runtime-dir)/libclang_rt.fuzzer-$(uname -m).a" ] || continue
        printf '%s\n' "$clang"
        exit 0
    done
    [ -z "${1:-}" ] || fail "no clang with libFuzzer (Debian: clang and libclang-rt-dev)"
    install_packages clang libclang-rt-dev || exit 1
    find_clang again
)

# build_target NAME
build_target() {
    cmake --build "$build" --target "fuzz_$1" >"$build/build.log" 2>&1 || {
        cat "$build/build.log" >&2
        fail "fuzz_$1 does not build"
    }
}

configure() {
    clang=$(find_clang)
    install_packages $CADRE_BUILD_PACKAGES libcmocka-dev libspng-dev libjpeg62-turbo-dev libwebp-dev libutf8proc-dev libcurl4-openssl-dev libssl-dev
    mkdir -p "$build"
    (cd "$top" && cmake --preset fuzz -DCMAKE_C_COMPILER="$clang") >"$build/configure.log" 2>&1 || {
        cat "$build/configure.log" >&2
        fail "the preset \"fuzz\" cannot be configured"
    }
    # Fibers have no fake stack.
    ASAN_OPTIONS=detect_stack_use_after_return=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
    UBSAN_OPTIONS=print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
    export ASAN_OPTIONS UBSAN_OPTIONS
}

# fuzz NAME SECONDS [OPTION...] : status 1 when an input fails.
fuzz() {
    name=$1 seconds=$2
    shift 2
    build_target "$name"
    mkdir -p "$build/corpus/$name" "$here/fuzz/corpus/$name"
    before=$(find "$build" -maxdepth 1 -name "$name-*" | sort)
    log=$build/$name.log
    status=0
    "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=1 \
        -artifact_prefix="$build/$name-" "$@" "$build/corpus/$name" "$here/fuzz/corpus/$name" >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$status" -eq 0 ]; then
        edges=$(grep -o 'cov: [0-9]*' "$log" | tail -1)
        echo "fuzz: $name: ${runs:-0} inputs in $seconds s, ${edges:-cov: ?} edges, no fault"
        return 0
    fi
    grep -v '^#[0-9]*	' "$log" | tail -60
    echo "fuzz: $name: FAILED"
    after=$(find "$build" -maxdepth 1 -name "$name-*" | sort)
    for input in $after; do
        case "$before" in
        *"$input"*) ;;
        *) echo "fuzz: again with: ASAN_OPTIONS=detect_stack_use_after_return=0 $build/tests/fuzz/fuzz_$name $input" ;;
        esac
    done
    return 1
}

minimize() {
    build_target "$1"
    mkdir -p "$build/corpus/$1" "$here/fuzz/corpus/$1"
    rm -rf "$build/minimal"
    mkdir "$build/minimal"
    case $1 in
    image) most=4096 ;;
    onnx) most=2048 ;;
    *) most=512 ;;
    esac
    "$build/tests/fuzz/fuzz_$1" -set_cover_merge=1 -use_counters=0 -max_len="$most" "$build/minimal" "$here/fuzz/corpus/$1" "$build/corpus/$1" >"$build/$1.log" 2>&1 ||
        fail "the corpus of $1 cannot be merged (see $build/$1.log)"
    rm -rf "$here/fuzz/corpus/$1"
    mv "$build/minimal" "$here/fuzz/corpus/$1"
    echo "fuzz: $1: $(find "$here/fuzz/corpus/$1" -type f | wc -l) inputs, $(du -sb "$here/fuzz/corpus/$1" | cut -f1) bytes"
}

case ${1:-} in
--list)
    targets
    exit 0
    ;;
--minimize)
    [ $# -eq 2 ] || fail "usage: sh tests/fuzz.sh --minimize TARGET"
    configure
    minimize "$2"
    exit 0
    ;;
'' | -h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    [ $# -ne 0 ] || exit 2
    exit 0
    ;;
esac

[ $# -ge 2 ] || fail "usage: sh tests/fuzz.sh TARGET SECONDS [-- OPTION...] (see --help)"
wanted=$1 seconds=$2
shift 2
case $seconds in
'' | *[!0-9]*) fail "SECONDS is \"$seconds\", not a number" ;;
esac
if [ $# -gt 0 ]; then
    [ "$1" = -- ] || fail "unknown argument: $1 (options for libFuzzer come after --)"
    shift
fi
[ "$wanted" = all ] || targets | grep -qx -e "$wanted" || fail "no target is called \"$wanted\" (sh tests/fuzz.sh --list)"
[ "$wanted" != all ] || wanted=$(targets)
configure
failed=
for name in $wanted; do
    fuzz "$name" "$seconds" "$@" || failed="$failed $name"
done
[ -z "$failed" ] || fail "fuzzing found faults:$failed"
