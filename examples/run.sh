#!/bin/sh
# Builds cadre and runs an example with real models, from a bare Debian 12 or newer.
#
# usage: sh examples/run.sh [NAME [ARGUMENT…] | --all]      (quickstart, then registry, without an argument)
#   NAME    minimal, quickstart, registry, three_loaders, own_model, cancel_and_deadline or embed_in_your_loop
#           (the last is a server: it listens on 127.0.0.1:7070 until Ctrl-C; talk to it with nc)
#   ARGUMENT…  for the program, before the manifest or the models that it is given: registry --metrics
#   --all   all but the server, in that order; stops at the first that fails
# Installs the packages that the build needs (apt-get, with sudo unless root), fetches llama.cpp and the weights (up to 290 MB once, 165 MB stay; see
# src/backends/llama/fetch.sh and examples/weights.sh), builds in build/release and runs the example. The manifests lie beside the programs, in
# build/release/examples; this script puts links to the weights that they name there. Without downloads it takes seconds.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$here/setup.sh"

server=embed_in_your_loop
programs="minimal quickstart registry three_loaders own_model cancel_and_deadline"

case ${1:-} in
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
'') names="quickstart registry" ;;
--all) names=$programs && shift ;;
*)
    case " $programs $server " in
    *" $1 "*) names=$1 && shift ;;
    *) fail "unknown example: $1 (one of: $programs $server; or --all)" ;;
    esac
    ;;
esac

# run_example NAME [ARGUMENT…] : with the manifest or the models that it takes.
run_example() {
    name=$1
    shift
    case $name in
    minimal) set -- "$examples/models.json" ;;
    registry) set -- "$@" "$examples/registry.json" ;;
    cancel_and_deadline | "$server") set -- "$smollm2" "$@" ;;
    three_loaders) set -- "$minilm" "$@" ;;
    quickstart) set -- "$smollm2" "$minilm" "$@" ;;
    esac
    say "running $name${*:+ $*}"
    "$examples/$name" "$@"
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
examples=$top/build/release/examples
mkdir -p "$examples/weights"
ln -sf "$smollm2" "$minilm" "$examples/weights/"

for name in $names; do
    run_example "$name" "$@"
done
[ "$names" != "$programs" ] || say "all of them ran; $server is a server and was left out: sh examples/run.sh $server"
