#!/bin/sh
# Measures cadre against floors and peers, each in alternation with it on this machine, and prints a table.
#
# usage: sh tests/bench.sh [CASE...] [--json] [--rounds N]
#   dispatch   a request that does nothing: round trip, throughput, instructions on the loop's thread
#   stall      what loads do to the loop: a timer's lag, uv_fs_stat, the time of the loads
#   lag        the same with the models in the registry, metrics scraped each second and the trace on
#   scale      bytes of a waiting request, instructions of a dispatch with 10,000 models, CPU time of 1,000 idle workers
#   thrash     loads that a trace of requests for six models takes with room for two, against the offline optimum
#   coldstart  a request for a model that is not loaded, to its first token, against llama-server in router mode
#   herd       40 and 10,000 requests at once for a cold model: loads, workers, and the time against llama-server in router mode
#   swap       40 requests at once for four cold models with room for two: loads, and the time against llama-server in router mode
#   cores      two busy models on the same cores, and short requests while other models load, against llama-server in router mode
#   generate   tokens a second for 1, 4 and 8 clients, against bare llama.cpp and llama-server
#   embed      texts a second for 32 clients, against bare llama.cpp and llama-server
# All cases without an argument. --json prints one object a line on stdout (case, metric, value, unit, peer, peer_value, ratio, spread,
# rounds, target); --rounds is 7 unless given, 5 at least. Ratios are value to peer_value, medians over the rounds; a spread is
# (max - min) / median of the rounds' ratios. Nothing passes or fails.
# Installs what it needs (apt-get), builds in build/bench, and builds the peer llama-server from the engine's source into CACHE once (about
# 10 minutes). CACHE: see examples/weights.sh. Each case ends with a line that says how busy the CPUs were with other things.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$top/examples/setup.sh"

engine_cases="coldstart herd swap cores generate embed"
all_cases="dispatch stall lag scale thrash $engine_cases"
cases= json= rounds=7
while [ $# -gt 0 ]; do
    case $1 in
    --json) json=--json ;;
    --rounds)
        [ $# -gt 1 ] || fail "--rounds takes a number"
        rounds=$2
        shift
        ;;
    -h | --help)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        case " $all_cases " in
        *" $1 "*) cases="$cases $1" ;;
        *) fail "unknown case: $1 ($all_cases)" ;;
        esac
        ;;
    esac
    shift
done
case $rounds in
'' | *[!0-9]*) fail "--rounds takes a number, not \"$rounds\"" ;;
esac
[ "$rounds" -ge 5 ] || fail "at least 5 rounds: a median of fewer says little"
[ -n "$cases" ] || cases=$all_cases

# last_line COMMAND... : what it prints last.
last_line() (
    output=$("$@") || exit 1
    printf '%s\n' "$output" | tail -n 1
)

wanted() {
    for name in $cases; do
        [ "$name" != "$1" ] || return 0
    done
    return 1
}

# build_server SOURCE SERVER : llama-server and its libraries, all in one folder.
build_server() (
    folder=$(dirname "$2")
    say "building the peer llama-server in $folder: about 10 minutes, once"
    lock_cache
    [ ! -x "$2" ] || exit 0
    part=$(make_part "$(cache_dir)")
    remove_on_exit "$part"
    log=$part/build.log
    {
        cmake -S "$1" -B "$part/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DGGML_NATIVE=OFF \
            -DLLAMA_CURL=OFF -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON &&
            cmake --build "$part/build" --target llama-server
    } >"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        fail "building llama-server failed (see above)"
    }
    rm -rf "$folder"
    mv -T "$part/build/bin" "$folder"
)

# copy_server SERVER LIBRARIES COPY : the same server with the CPU modules of LIBRARIES (hard links: it takes no room).
copy_server() (
    part=$(make_part "$(cache_dir)")
    remove_on_exit "$part"
    cp -al "${1%/*}" "$part/copy"
    rm -f "$part"/copy/libggml-cpu-*.so
    cp -al "$2"/libggml-cpu-*.so "$part/copy/"
    rm -rf "${3%/*}"
    mv -T "$part/copy" "${3%/*}"
)

build=$top/build/bench
install_packages $CADRE_BUILD_PACKAGES valgrind
options="--rounds $rounds $json"
engine_wanted=
for name in $engine_cases; do
    ! wanted "$name" || engine_wanted=yes
done
if [ -n "$engine_wanted" ]; then
    backends=llama
    engine=$(last_line sh "$top/src/backends/llama/fetch.sh")
    smollm2=$(sh "$top/examples/weights.sh" smollm2)
    minilm=$(sh "$top/examples/weights.sh" minilm)
    server=$(cache_dir)/${engine##*/}-server/llama-server
    if [ ! -x "$server" ]; then
        install_packages g++
        source=$(last_line sh "$top/src/backends/llama/fetch.sh" --source-only)
        build_server "$source" "$server"
    fi
    server_same=$(cache_dir)/${engine##*/}-server-same/llama-server
    [ -x "$server_same" ] || copy_server "$server" "$engine/lib" "$server_same"
else
    backends=
fi

say "building in build/bench"
cd "$top"
# -g: callgrind tells functions by it. The folder of the release preset stays as it is.
log=$(cmake --preset release -B "$build" -DCADRE_BUILD_BENCH=ON -DCADRE_BUILD_EXAMPLES=OFF -DCADRE_BACKENDS="$backends" -DCMAKE_C_FLAGS=-g 2>&1 &&
    cmake --build "$build" 2>&1) || {
    printf '%s\n' "$log" >&2
    fail "the build failed (see above)"
}

folder=$build/run
mkdir -p "$folder"
for name in $cases; do
    say "$name ($(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg))"
    set -- $options --folder "$folder"
    case " $engine_cases " in
    *" $name "*) set -- "$@" --server "$server" --server-same "$server_same" --smollm2 "$smollm2" --minilm "$minilm" ;;
    esac
    "$build/tests/bench/bench_$name" "$@"
done
