#!/bin/sh
# How much of src/ (without backends) the suites and the simulator run.
#
# usage: sh tests/coverage.sh [--no-run]
#   --no-run   reports on what build/coverage has counted already
# Builds the preset "coverage", runs its tests, and prints lines and branches per file, then every line that no test runs. Fails below 95 % of lines or 85 % of
# branches. tests/coverage.allow lists what no test can run, with the reason; those lines are counted apart. A branch is one way out of a condition as gcov
# sees it. Installs the packages that it needs (apt-get, with sudo unless root).

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$top/examples/setup.sh"
build=$top/build/coverage

run=1
case ${1:-} in
'') ;;
--no-run) run= ;;
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
*) fail "unknown argument: $1 (--no-run or --help)" ;;
esac

install_packages $CADRE_BUILD_PACKAGES libcmocka-dev
if [ -n "$run" ]; then
    say "building and running in build/coverage"
    (cd "$top" && cmake --preset coverage >/dev/null && cmake --build build/coverage) >"$top/build/coverage.log" 2>&1 || {
        tail -40 "$top/build/coverage.log" >&2
        fail "the preset \"coverage\" does not build (see build/coverage.log)"
    }
    find "$build" -name '*.gcda' -delete
    # What preloads libraries or plants faults runs no other lines.
    ctest --test-dir "$build" --output-on-failure --no-tests=error -j2 -E '_interposed$|^sim_fault_' || fail "a test fails: its lines do not count"
    "$build/tests/sim/sim" --operations 60000 --seed 100 || fail "the simulator found a fault"
fi
exec python3 "$here/coverage.py" "$top" "$build" --lines 95 --branches 85 --allow "$here/coverage.allow"
