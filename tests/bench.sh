#!/bin/sh
# Measures cadre against floors and peers, each in alternation with it on this machine, and prints a table.
#
# usage: sh tests/bench.sh [CASE...] [--json] [--rounds N]
#   dispatch   a request that does nothing: round trip, throughput, instructions on the loop's thread
#   stall      what loads do to the loop: a timer's lag, uv_fs_stat, the time of the loads
#   lag        the same with the models in the registry, metrics scraped each second and the trace on
#   fetch      four files from a hub on this machine, checked, and the loop's lag meanwhile, against curl with sha256sum
#   scale      bytes of a waiting request, instructions of a dispatch with 10,000 models, CPU time of 1,000 idle workers
#   thrash     loads that a trace of requests for six models takes with room for two, against the offline optimum
#   coldstart  a request for a model that is not loaded, to its first token, against llama-server in router mode
#   herd       40 and 10,000 requests at once for a cold model: loads, workers, and the time against llama-server in router mode
#   swap       40 requests at once for four cold models with room for two: loads, and the time against llama-server in router mode
#   cores      two busy models on the same cores, and short requests while other models load, against llama-server in router mode
#   generate   tokens a second for 1, 4 and 8 clients, against bare llama.cpp and llama-server
#   embed      texts a second for 32 clients, against bare llama.cpp and llama-server
#   image      pictures a second to vectors, 32 at once, decoding included, against a bare ONNX Runtime loop
#   vision     a question about a picture: the first piece of text, and tokens a second, against llama-mtmd-cli's own timings
#   draw       seconds for a picture of FLUX and Stable Diffusion 3.5, against stable-diffusion.cpp's own program
#   shared     memory that each further worker takes around shared weights, against what the engines say their contexts take
# All cases without an argument. --json prints one object a line on stdout (case, metric, value, unit, peer, peer_value, ratio, spread,
# rounds, target); --rounds is 7 unless given, 5 at least. Ratios are value to peer_value, medians over the rounds; a spread is
# (max - min) / median of the rounds' ratios. Nothing passes or fails.
# Installs what it needs (apt-get), builds in build/bench, and builds the peers llama-server and llama-mtmd-cli from the engine's source into CACHE
# once (about 10 minutes). CACHE: see examples/weights.sh. The cases from `image` on build all backends, whose engines are fetched and built into
# CACHE likewise, and make two models of a realistic size with random weights in build/bench/run (580 MB). Each case ends with a line that says
# how busy the CPUs were with other things.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$top/examples/setup.sh"

llama_cases="coldstart herd swap cores generate embed"
backend_cases="image vision draw shared"
all_cases="dispatch stall lag fetch scale thrash $llama_cases $backend_cases"
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

# any_wanted NAME...
any_wanted() {
    for candidate in "$@"; do
        ! wanted "$candidate" || return 0
    done
    return 1
}

# build_programs SOURCE FOLDER : llama-server, llama-mtmd-cli and their libraries, all in one folder.
build_programs() (
    say "building the peers llama-server and llama-mtmd-cli in $2: about 10 minutes, once"
    lock_cache
    ! have_programs "$2" || exit 0
    part=$(make_part "$(cache_dir)")
    remove_on_exit "$part"
    log=$part/build.log
    {
        cmake -S "$1" -B "$part/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DGGML_NATIVE=OFF \
            -DLLAMA_CURL=OFF -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON &&
            cmake --build "$part/build" --target llama-server llama-mtmd-cli
    } >"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        fail "building llama-server and llama-mtmd-cli failed (see above)"
    }
    rm -rf "$2"
    mv -T "$part/build/bin" "$2"
)

have_programs() {
    [ -x "$1/llama-server" ] && [ -x "$1/llama-mtmd-cli" ]
}

# copy_programs FOLDER LIBRARIES COPY : the same programs with the CPU modules of LIBRARIES (hard links: it takes no room).
copy_programs() (
    part=$(make_part "$(cache_dir)")
    remove_on_exit "$part"
    cp -al "$1" "$part/copy"
    rm -f "$part"/copy/libggml-cpu-*.so
    cp -al "$2"/libggml-cpu-*.so "$part/copy/"
    rm -rf "$3"
    mv -T "$part/copy" "$3"
)

# prepare_llama : the engine, its weights and its own programs.
prepare_llama() {
    engine=$(last_line sh "$top/src/backends/llama/fetch.sh")
    smollm2=$(sh "$top/examples/weights.sh" smollm2)
    minilm=$(sh "$top/examples/weights.sh" minilm)
    peers=$(cache_dir)/${engine##*/}-server
    if ! have_programs "$peers"; then
        install_packages g++
        source=$(last_line sh "$top/src/backends/llama/fetch.sh" --source-only)
        build_programs "$source" "$peers"
    fi
    have_programs "$peers-same" || copy_programs "$peers" "$engine/lib" "$peers-same"
}

# make_once SCRIPT FILE... : the files that a script of tests/bench makes, unless they are newer than it.
make_once() (
    script=$here/bench/$1
    shift
    for file in "$@"; do
        [ "$file" -nt "$script" ] && continue
        say "making ${file##*/}"
        python3 -B "$script" "$@" || fail "${script##*/} failed (see above)"
        exit 0
    done
)

# prepare_backends : the weights and programs of the other engines. Sets the variables that examples/weights.sh --env prints.
prepare_backends() {
    install_packages $CADRE_BACKEND_PACKAGES
    weights=$(sh "$top/examples/weights.sh" --env)
    while read -r line; do
        export "$line"
    done <<EOF_WEIGHTS
$weights
EOF_WEIGHTS
    ! wanted image || make_once make_clip.py "$folder/clip-large.onnx"
    ! wanted vision || make_once make_llava.py "$folder/llava-large.gguf" "$folder/llava-large-mmproj.gguf"
    ! wanted draw || diffusion=$(last_line sh "$top/src/backends/diffusion/fetch.sh")
}

build=$top/build/bench
folder=$build/run
mkdir -p "$folder"
install_packages $CADRE_BUILD_PACKAGES valgrind
backends= images=OFF fetch=OFF
if wanted fetch; then
    fetch=ON
    install_packages libcurl4-openssl-dev libssl-dev curl openssl
fi
if any_wanted $llama_cases vision; then
    backends=llama
    prepare_llama
fi
if any_wanted $backend_cases; then
    backends=$CADRE_ALL_BACKENDS images=ON
    prepare_backends
fi

say "building in build/bench"
cd "$top"
# -g: callgrind tells functions by it. The folder of the release preset stays as it is.
log=$(cmake --preset release -B "$build" -DCADRE_BUILD_BENCH=ON -DCADRE_BUILD_EXAMPLES=OFF -DCADRE_BACKENDS="$backends" -DCADRE_IMAGES=$images \
    -DCADRE_FETCH=$fetch -DCMAKE_C_FLAGS=-g 2>&1 &&
    cmake --build "$build" 2>&1) || {
    printf '%s\n' "$log" >&2
    fail "the build failed (see above)"
}

for name in $cases; do
    say "$name ($(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg))"
    set -- --rounds "$rounds" $json --folder "$folder"
    case " $llama_cases " in
    *" $name "*)
        set -- "$@" --server "$peers/llama-server" --server-same "$peers-same/llama-server" --smollm2 "$smollm2" --minilm "$minilm"
        ;;
    esac
    case $name in
    image) set -- "$@" --clip-onnx "$CADRE_TEST_CLIP_ONNX" --clip-onnx-large "$folder/clip-large.onnx" ;;
    vision)
        set -- "$@" --mtmd-cli "$peers-same/llama-mtmd-cli" --mtmd-cli-own "$peers/llama-mtmd-cli" \
            --llava "$CADRE_TEST_LLAVA" --llava-mmproj "$CADRE_TEST_LLAVA_MMPROJ" \
            --llava-large "$folder/llava-large.gguf" --llava-large-mmproj "$folder/llava-large-mmproj.gguf"
        ;;
    draw)
        set -- "$@" --sd-cli "$diffusion/bin/sd-cli" --flux "$CADRE_TEST_FLUX" --clip-l "$CADRE_TEST_CLIP_L" --taesd "$CADRE_TEST_TAESD" \
            --sd35 "$CADRE_TEST_SD35" --taesd3 "$CADRE_TEST_TAESD3" ${CADRE_TEST_CLIP_G:+--clip-g "$CADRE_TEST_CLIP_G"}
        ;;
    shared) set -- "$@" --smollm2 "$CADRE_TEST_SMOLLM2" --minilm-onnx "$CADRE_TEST_MINILM_ONNX" --minilm-vocab "$CADRE_TEST_MINILM_VOCAB" ;;
    esac
    "$build/tests/bench/bench_$name" "$@"
done
