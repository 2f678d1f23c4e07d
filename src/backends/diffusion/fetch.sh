#!/bin/sh
# Fetches and builds stable-diffusion.cpp: one shared library that shows its C interface and hides its own ggml, and its command-line program.
#
# usage: sh src/backends/diffusion/fetch.sh [--print | --help]
#   (nothing)  makes CACHE/stable-diffusion-0.4.7-ARCH/ with lib/, include/, bin/sd-cli and the licences, unless it is there
#   --print    fetches and builds nothing; says where it would be, status 1 if it is not there
# The last line on stdout is the folder. CACHE is $CADRE_CACHE, else $XDG_CACHE_HOME/cadre, else ~/.cache/cadre.
# 20 MB are downloaded, 50 MB stay. The build takes about two minutes on two cores, seven on busy ones; a compiler takes 2.4 GB of memory, so no more of them run than there
# is room for. $CADRE_JOBS sets their number.
#
# The library is built for x86-64 with AVX2, FMA, F16C and BMI2, not for the machine at hand: it may be installed elsewhere. The backend refuses a processor that
# lacks them. On arm64 it is built for the architecture's baseline.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../../examples/setup.sh"

version=0.4.7
archive=stable_diffusion_cpp_python-$version.tar.gz
sha=998d1957260dd5ae4e18a8acc0c14b0a8757aaa9f96515197b6d5bbf46df9282
library=libcadre-stable-diffusion.so

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# recipe : what the folder was made from, so that a change makes it anew.
recipe() {
    parts=$(cat "$here"/patches/*.patch "$here/engine.cpp" "$here/engine.h" "$here/engine.map" | sha256sum)
    printf 'stable-diffusion.cpp of %s, recipe 1, %s\n' "$archive" "${parts%% *}"
}

complete() {
    [ -f "$engine/.stamp" ] && [ "$(cat "$engine/.stamp")" = "$(recipe)" ]
}

# attempt WHAT COMMAND... : runs it quietly; explains a failure.
attempt() {
    what=$1
    shift
    log=$("$@" 2>&1) || explain "$cache" "$log" "$what failed"
}

# jobs : how many compilers may run.
jobs() {
    if [ -n "${CADRE_JOBS:-}" ]; then
        printf '%s\n' "$CADRE_JOBS"
        return
    fi
    cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
    room=$(awk '/^MemAvailable:/ { print int($2 / 2500000) }' /proc/meminfo 2>/dev/null || echo 1)
    [ "${room:-0}" -ge 1 ] || room=1
    [ "$cores" -le "$room" ] || cores=$room
    printf '%s\n' "$cores"
}

# build FOLDER : runs the long build there, and says every half minute how far it is.
build() {
    cmake --build "$1" --parallel "$(jobs)" --target stable-diffusion sd-cli >"$1/build.log" 2>&1 &
    build_pid=$!
    waited=0
    while kill -0 "$build_pid" 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        [ $((waited % 30)) -ne 0 ] || say "building stable-diffusion.cpp: $(grep -o '^\[ *[0-9/%]*\]' "$1/build.log" | tail -1)"
    done
    wait "$build_pid" || explain "$cache" "$(tail -40 "$1/build.log")" "building stable-diffusion.cpp failed"
}

# unpack PART : the patched source, as PART/source.
unpack() {
    fetch_pypi_source stable-diffusion-cpp-python "$version" "$archive" "$sha"
    mkdir "$1/sdist"
    attempt "unpacking $archive" tar -xzf "$cache/downloads/$archive" -C "$1/sdist" --strip-components=1
    mv "$1/sdist/vendor/stable-diffusion.cpp" "$1/source"
    for patch in "$here"/patches/*.patch; do
        attempt "applying ${patch##*/}" env GIT_CEILING_DIRECTORIES="$1" git -C "$1/source" apply "$patch"
    done
}

# link PART : the static libraries and engine.cpp become one shared library.
link() {
    attempt "linking $library" c++ -std=c++17 -O2 -fPIC -fvisibility=hidden -Wall -Wextra -shared -o "$1/engine/lib/$library" -Wl,-soname,"$library" \
        -Wl,--version-script="$here/engine.map" -Wl,--no-undefined -Wl,-z,relro,-z,now -s -I"$here" -I"$1/source/include" -I"$1/source/ggml/include" \
        "$here/engine.cpp" "$1/build/libstable-diffusion.a" "$1/build/ggml/src/libggml.a" "$1/build/ggml/src/libggml-cpu.a" "$1/build/ggml/src/libggml-base.a" \
        -pthread -ldl -lm
}

make_engine() (
    part=$(make_part "$cache") || exit 1
    remove_on_exit "$part"
    unpack "$part"
    say "building stable-diffusion.cpp in $part (a few minutes on two cores, once)"
    attempt "configuring stable-diffusion.cpp" env GIT_CEILING_DIRECTORIES="$part" cmake -G Ninja -S "$part/source" -B "$part/build" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_C_FLAGS=-fexceptions -DSD_WEBP=OFF -DSD_WEBM=OFF -DSD_BUILD_EXAMPLES=ON \
        -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_CCACHE=OFF
    build "$part/build"
    mkdir -p "$part/engine/lib" "$part/engine/include" "$part/engine/bin"
    link "$part"
    attempt "copying sd-cli" strip -o "$part/engine/bin/sd-cli" "$part/build/bin/sd-cli"
    cp "$part/source/include/stable-diffusion.h" "$part/engine/include/"
    cp "$part/source/LICENSE" "$part/engine/LICENSE.stable-diffusion.cpp"
    cp "$part/source/ggml/LICENSE" "$part/engine/LICENSE.ggml"
    cp "$part/source/thirdparty/LICENSE.darts_clone.txt" "$part/engine/LICENSE.darts_clone"
    cp "$part/sdist/LICENSE" "$part/engine/LICENSE.stable-diffusion-cpp-python"
    recipe >"$part/engine/.stamp"
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

unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
cache=$(cache_dir)
engine=$cache/stable-diffusion-$version-$(uname -m)

if [ -n "$only_print" ]; then
    printf '%s\n' "$engine"
    complete || exit 1
    exit 0
fi

if ! complete; then
    install_packages $CADRE_BUILD_PACKAGES g++
    lock_cache
    complete || make_engine
    rm -f "$cache/downloads/$archive"
fi
printf '%s\n' "$engine"
