#!/bin/sh
# Builds cadre and runs its tests, from a bare Debian 12 or newer: three builds, each with its own CTest run, and the fuzzers.
#
# usage: sh tests/run.sh [--quick]
#   dev    every test, with all backends and real models
#   asan   the tests of the core, of scripted models, of the picture library and of the fetcher under AddressSanitizer and UndefinedBehaviorSanitizer,
#          no backend
#   tsan   the same under ThreadSanitizer
#   fuzz   every fuzz target for 20 s, always from the same seed (tests/fuzz.sh runs them for any time and from any)
#   --quick  dev only
# Installs the packages that it needs (apt-get, with sudo unless root), fetches or builds the engines and fetches or makes the weights in the cache (see
# src/backends/*/fetch.sh and examples/weights.sh; stable-diffusion.cpp is built once, which takes a few minutes on two cores). A failing build does
# not keep the next ones from running; the last line says which failed. The tests find the models in the variables that examples/weights.sh --env prints.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$top/examples/setup.sh"

presets="dev asan tsan"
fuzz=20
case ${1:-} in
'') ;;
--quick) presets=dev fuzz= ;;
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
*) fail "unknown argument: $1 (--quick or --help)" ;;
esac

# without_aslr COMMAND... : newer kernels place memory where gcc 12's ThreadSanitizer does not expect it, and it ends the process. Where the
# system forbids the switch (some containers) the command runs as it is.
without_aslr() {
    if setarch "$(uname -m)" -R true 2>/dev/null; then
        setarch "$(uname -m)" -R "$@"
    else
        "$@"
    fi
}

# run_preset PRESET : builds and tests; status 0 if all is well.
run_preset() {
    backends= wrapper=
    case $1 in
    dev) backends=$CADRE_ALL_BACKENDS ;;
    tsan) wrapper=without_aslr ;;
    esac
    say "$1: building in build/$1"
    cmake --preset "$1" -DCADRE_BACKENDS="$backends" -DCADRE_IMAGES=ON -DCADRE_FETCH=ON &&
        $wrapper cmake --build "build/$1" &&
        $wrapper ctest --test-dir "build/$1" --output-on-failure --no-tests=error -j2
}

install_packages $CADRE_BUILD_PACKAGES $CADRE_BACKEND_PACKAGES libcmocka-dev python3-jsonschema
fetch_engines
weights=$(sh "$top/examples/weights.sh" --env)
while read -r line; do
    export "$line"
done <<EOF_WEIGHTS
$weights
EOF_WEIGHTS

cd "$top"
start=$(date +%s)
passed= failed=
for preset in $presets; do
    if run_preset "$preset"; then
        passed="$passed $preset"
    else
        failed="$failed $preset"
    fi
done

if [ -n "$fuzz" ]; then
    say "fuzz: each target for $fuzz s"
    if sh tests/fuzz.sh all "$fuzz" -- -seed=1; then
        passed="$passed fuzz"
    else
        failed="$failed fuzz"
    fi
fi

seconds=$(($(date +%s) - start))
if [ -n "$failed" ]; then
    echo "tests: FAILED:$failed; passed:${passed:- none} ($seconds s)"
    exit 1
fi
echo "tests: passed:$passed ($seconds s)"
