#!/bin/sh
# The simulator (tests/sim), optimised, for long runs: sh tests/sim.sh [--operations N] [--seed S] [--help]
# It prints how far it is every few seconds. A violation ends it with status 1, the seed that shows it again, and a history shrunk to few operations.
set -eu
cd "$(dirname "$0")/.."
operations=10000000 seed=1
while [ $# -gt 0 ]; do
    case $1 in
    --operations) operations=$2 && shift 2 ;;
    --seed) seed=$2 && shift 2 ;;
    --help)
        sed -n '2,3s/^# //p' "$0"
        echo "  --operations N   how many (10000000); one host does a few to some thousand"
        echo "  --seed S         of the first host (1)"
        exit 0
        ;;
    *) echo "sh tests/sim.sh [--operations N] [--seed S] [--help]" >&2 && exit 2 ;;
    esac
done
cmake -S . -B build/sim -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_FLAGS_RELWITHDEBINFO="-O2 -g" -DCADRE_BACKENDS= >/dev/null
cmake --build build/sim --target sim -j >/dev/null
exec build/sim/tests/sim/sim --operations "$operations" --seed "$seed"
