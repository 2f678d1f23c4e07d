#!/bin/sh
# Builds cadre and runs an example with real models, from a bare Debian 12 or newer.
#
# usage: sh examples/run.sh [NAME | --all]      (quickstart without an argument)
#   NAME    minimal, quickstart, three_loaders, cancel_and_deadline or embed_in_your_loop
#           (the last is a server: it listens on 127.0.0.1:7070 until Ctrl-C; talk to it with nc)
#   --all   all but the server, in that order; stops at the first that fails
# Installs the packages that the build needs (apt-get, with sudo unless root), fetches llama.cpp and the weights (up to 290 MB once, 165 MB stay; see
# src/backends/llama/fetch.sh and examples/weights.sh), builds in build/release and runs the example. Without downloads it takes seconds.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$here/setup.sh"

server=embed_in_your_loop
programs="minimal quickstart three_loaders cancel_and_deadline"

case ${1:-} in
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
'') names=quickstart ;;
--all) names=$programs ;;
*)
    case " $programs $server " in
    *" $1 "*) names=$1 ;;
    *) fail "unknown example: $1 (one of: $programs $server; or --all)" ;;
    esac
    ;;
esac

# run_example NAME : with the models that it takes.
run_example() {
    case $1 in
    minimal | cancel_and_deadline | "$server") set -- "$1" "$smollm2" ;;
    three_loaders) set -- "$1" "$minilm" ;;
    quickstart) set -- "$1" "$smollm2" "$minilm" ;;
    esac
    say "running $*"
    program=$top/build/release/examples/$1
    shift
    "$program" "$@"
}

# $CADRE_BUILD_PACKAGES is a list.
install_packages $CADRE_BUILD_PACKAGES
sh "$top/src/backends/llama/fetch.sh" >/dev/null
smollm2=$(sh "$here/weights.sh" smollm2)
minilm=$(sh "$here/weights.sh" minilm)

say "building in build/release"
cd "$top"
cmake --preset release -DCADRE_BACKENDS=llama >&2
cmake --build build/release >&2
cd "$OLDPWD"

for name in $names; do
    run_example "$name"
done
[ "${1:-}" != --all ] || say "all of them ran; $server is a server and was left out: sh examples/run.sh $server"
