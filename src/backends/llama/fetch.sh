#!/bin/sh
# Fetches llama.cpp v0.5.0: ready shared libraries (npm's @node-llama-cpp/linux-*), and from the source of the same version (npm's node-llama-cpp)
# the headers and libmtmd, the vision part, which has no ready library: it is compiled here (g++, some minutes, once).
#
# usage: sh src/backends/llama/fetch.sh [--source | --source-only | --print]
#   (nothing)      makes CACHE/llama-v0.5.0-ARCH/ with lib/, include/ and the licences, unless it is there
#   --source       also unpacks the full source to CACHE/llama-v0.5.0-source/
#   --source-only  only the source (works on any architecture)
#   --print        fetches nothing; says where the libraries are, status 1 if they are not there
# The last line on stdout is the folder (--source: still that of the libraries). CACHE is $CADRE_CACHE, else $XDG_CACHE_HOME/cadre, else
# ~/.cache/cadre. 47 MB are downloaded, 25 MB stay (the source: another 175 MB); the archives are removed once they are unpacked. CXX is the
# compiler, if it is not g++.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../../examples/setup.sh"

version=v0.5.0
package_version=3.22.1
recipe="llama.cpp $version, node-llama-cpp $package_version, recipe 2"
source_archive=node-llama-cpp-$package_version.tgz
source_sha=a0d9dd80eacd2ab1cfe71aee57ac8a806487fd70b3d2a38fbec637752d9e5c5f

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# choose_architecture : sets arch, platform and sha; arch is empty where there are no ready libraries.
choose_architecture() {
    case $(uname -m) in
    x86_64 | amd64) arch=x64 sha=0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0 ;;
    aarch64 | arm64) arch=arm64 sha=39c76b998e35ed2f236c01472fc79eda0fc558b1c8b535023c2d7ded8c327cc4 ;;
    *) arch= sha= ;;
    esac
    platform=linux-$arch
}

complete() {
    [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$recipe" ]
}

# publish PART FOLDER : stamps what was built and gives it its name.
publish() {
    printf '%s\n' "$recipe" >"$1/.stamp"
    rm -rf "$2"
    attempt "renaming $1 to $2" mv -T "$1" "$2"
}

# clone_bundle PART : the source's history-less repository, from the bundle in the package, as PART/git.
clone_bundle() {
    command -v git >/dev/null 2>&1 || install_packages git
    fetch_npm node-llama-cpp "$package_version" "$source_archive" "$source_sha"
    attempt "unpacking $source_archive" tar -xzf "$cache/downloads/$source_archive" -C "$1" package/llama/gitRelease.bundle package/llama/patches package/LICENSE
    attempt "reading the git bundle of $source_archive" git clone --quiet --bare --template= "$1/package/llama/gitRelease.bundle" "$1/git"
}

# attempt WHAT COMMAND... : runs it quietly; explains a failure.
attempt() {
    what=$1
    shift
    log=$("$@" 2>&1) || explain "$cache" "$log" "$what failed"
}

# extract FOLDER PATH... : those paths of the bundle's source (all without any).
extract() {
    folder=$1
    shift
    mkdir -p "$folder"
    attempt "listing the source" git --git-dir="$part/git" archive --output="$part/source.tar" HEAD "$@"
    attempt "unpacking the source" tar -xf "$part/source.tar" -C "$folder"
    rm -f "$part/source.tar"
}

# The encoder's number of threads is fixed when a context is made; cadre asks for its share of the cores before each picture.
add_threads_setter() {
    cat >>"$1/tools/mtmd/mtmd.cpp" <<'END'

extern "C" MTMD_API void cadre_mtmd_set_threads(mtmd_context * ctx, int n_threads);
void cadre_mtmd_set_threads(mtmd_context * ctx, int n_threads) {
    ctx->n_threads = n_threads;
}
END
}

# compile_mtmd TREE LIB OUT : libmtmd from the source in TREE, linked with the libraries in LIB. Its helpers, which decode files of pictures,
# sound and video, are left out: cadre gives it pixels.
compile_mtmd() {
    command -v "${CXX:-g++}" >/dev/null 2>&1 || install_packages g++
    sources=$1/tools/mtmd
    mkdir "$1/objects"
    flags="-std=c++17 -O3 -DNDEBUG -fPIC -fvisibility=hidden -fvisibility-inlines-hidden -pthread -w -DLLAMA_SHARED"
    (cd "$sources" && printf '%s\n' clip.cpp mtmd.cpp mtmd-audio.cpp mtmd-image.cpp models/*.cpp) >"$1/sources"
    attempt "compiling libmtmd" xargs -P "$(getconf _NPROCESSORS_ONLN)" -I '{}' sh -c '
        "$1" $2 -I "$3/include" -I "$3/ggml/include" -I "$3/tools/mtmd" -c "$3/tools/mtmd/$4" -o "$3/objects/$(basename "$4" .cpp).o"
    ' sh "${CXX:-g++}" "$flags" "$1" '{}' <"$1/sources"
    attempt "linking libmtmd" "${CXX:-g++}" -shared -s -pthread -Wl,--no-undefined,--enable-new-dtags -Wl,-soname,"${3##*/}" -Wl,-rpath,'$ORIGIN' -o "$3" "$1"/objects/*.o \
        "$2/libllama.$version.so" "$2/libggml.$version.so" "$2/libggml-base.so"
    chmod 644 "$3"
}

make_engine() (
    part=$(make_part "$cache") || exit 1
    remove_on_exit "$part"
    libraries_archive=node-llama-cpp-$platform-$package_version.tgz
    fetch_npm "@node-llama-cpp/$platform" "$package_version" "$libraries_archive" "$sha"
    clone_bundle "$part"
    say "unpacking llama.cpp $version to $engine"
    extract "$part/tree" include ggml/include tools/mtmd LICENSE
    attempt "unpacking $libraries_archive" tar -xzf "$cache/downloads/$libraries_archive" -C "$part" "package/bins/$platform"
    mkdir -p "$part/engine/lib" "$part/engine/include"
    bins=$part/package/bins/$platform
    mv "$bins/libllama.$version.so" "$bins/libggml.$version.so" "$bins/libggml-base.so" "$bins"/libggml-cpu-*.so "$part/engine/lib/"
    say "compiling libmtmd (some minutes)"
    add_threads_setter "$part/tree"
    compile_mtmd "$part/tree" "$part/engine/lib" "$part/engine/lib/libmtmd.$version.so"
    mv "$part/tree/include/llama.h" "$part/tree/ggml/include"/ggml*.h "$part/tree/ggml/include/gguf.h" "$part/tree/tools/mtmd/mtmd.h" "$part/engine/include/"
    mv "$part/tree/LICENSE" "$part/engine/LICENSE.llama.cpp"
    mv "$part/package/LICENSE" "$part/engine/LICENSE.node-llama-cpp"
    publish "$part/engine" "$engine"
)

# The ready libraries have the package's patches in them, so the source gets them too.
make_source() (
    part=$(make_part "$cache") || exit 1
    remove_on_exit "$part"
    clone_bundle "$part"
    say "unpacking the source of llama.cpp $version to $source_folder"
    extract "$part/source"
    for patch in "$part/package/llama/patches"/*.diff; do
        attempt "applying ${patch##*/}" env GIT_CEILING_DIRECTORIES="$part" git -C "$part/source" apply "$patch"
    done
    add_threads_setter "$part/source"
    publish "$part/source" "$source_folder"
)

want_engine=1 want_source= only_print=
for argument in "$@"; do
    case $argument in
    --source) want_source=1 ;;
    --source-only) want_source=1 want_engine= ;;
    --print) only_print=1 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && fail "unknown argument: $argument" ;;
    esac
done

unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
choose_architecture
cache=$(cache_dir)
engine=$cache/llama-$version-$arch
source_folder=$cache/llama-$version-source
[ -n "$arch" ] || [ -z "$want_engine" ] || fail "no ready libraries for $(uname -m): use --source-only and build it (CADRE_LLAMA_ENGINE=source)"

if [ -n "$only_print" ]; then
    printf '%s\n' "$engine"
    complete "$engine" || exit 1
    exit 0
fi

missing() {
    { [ -n "$want_engine" ] && ! complete "$engine"; } || { [ -n "$want_source" ] && ! complete "$source_folder"; }
}

if missing; then
    lock_cache
    [ -z "$want_engine" ] || complete "$engine" || make_engine
    [ -z "$want_source" ] || complete "$source_folder" || make_source
    rm -f "$cache/downloads/$source_archive" "$cache/downloads/node-llama-cpp-$platform-$package_version.tgz"
    drop_npm_client
fi
if [ -n "$want_engine" ]; then
    printf '%s\n' "$engine"
else
    printf '%s\n' "$source_folder"
fi
