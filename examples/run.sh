#!/bin/sh
# Builds cadre and runs an example with real models, from a bare Debian 12 or newer.
#
# usage: sh examples/run.sh [NAME [ARGUMENT…] | cli ARGUMENT… | --all]      (quickstart, registry and pictures, without an argument)
#   NAME    minimal, quickstart, registry, three_loaders, own_model, cancel_and_deadline, pictures or embed_in_your_loop
#           (pictures: cadre-cli compares, describes and draws some; the last is a server: it listens on 127.0.0.1:7070 until Ctrl-C; talk to it with nc)
#   fetch REFERENCE [QUESTION]    a chat model from a hub: sh examples/run.sh fetch hf:OWNER/NAME/FILE.gguf
#   ARGUMENT…  for the program, before the manifest or the models that it is given: registry --metrics
#   cli     cadre-cli with its manifest: sh examples/run.sh cli chat smollm2
#   --all   all but the server and fetch, in that order; stops at the first that fails
# Installs the packages that the build needs (apt-get, with sudo unless root), fetches the engines and the weights or makes them (see src/backends/*/fetch.sh
# and examples/weights.sh; stable-diffusion.cpp is built from source, once, a few minutes on two cores), builds in build/release and runs the example. The
# manifests lie beside the programs, in build/release/examples; this script puts links to the weights that they name there. Later runs take seconds.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$here/setup.sh"

server=embed_in_your_loop
programs="minimal quickstart registry three_loaders own_model cancel_and_deadline pictures"

case ${1:-} in
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
'') names="quickstart registry pictures" ;;
cli) names=cli && shift ;;
--all) names=$programs && shift ;;
*)
    case " $programs $server fetch " in
    *" $1 "*) names=$1 && shift ;;
    *) fail "unknown example: $1 (one of: $programs $server fetch; cli; or --all)" ;;
    esac
    ;;
esac

# cli ARGUMENT… : cadre-cli with its manifest, which another --models replaces.
cli() {
    say "cadre-cli $*"
    "$examples/cadre-cli/cadre-cli" --models "$examples/cadre-cli/models.json" "$@"
}

# pictures : looks at some and draws one with each model.
pictures() {
    cli embed-image --similarity clip-shapes "$here/pictures/red-circle.png" "$here/pictures/red-circle-elsewhere.png" "$here/pictures/red-square.png" "$here/pictures/blue-square.jpg"
    cli describe shapes-llava "$here/pictures/red-circle.png"
    for model in flux-colour sd35-colour; do
        cli draw "$model" "a red square" --seed 7 -o "$examples/red-square-$model.png"
    done
    say "drawn: $examples/red-square-flux-colour.png and $examples/red-square-sd35-colour.png"
}

# run_example NAME [ARGUMENT…] : with the manifest or the models that it takes.
run_example() {
    name=$1
    shift
    case $name in
    pictures)
        pictures "$@"
        return
        ;;
    cli) exec "$examples/cadre-cli/cadre-cli" --models "$examples/cadre-cli/models.json" "$@" ;; # Ctrl-C is for it alone
    minimal) set -- "$examples/models.json" ;;
    registry) set -- "$@" "$examples/registry.json" ;;
    cancel_and_deadline | "$server") set -- "$smollm2" "$@" ;;
    three_loaders) set -- "$minilm" "$@" ;;
    quickstart) set -- "$smollm2" "$minilm" "$@" ;;
    esac
    [ "$name" != fetch ] || [ $# -gt 0 ] || fail "fetch needs the model's file: sh examples/run.sh fetch hf:OWNER/NAME/FILE.gguf"
    say "running $name${*:+ $*}"
    "$examples/$name" "$@"
}

CADRE_CACHE=$(cache_dir) && export CADRE_CACHE # it may be relative, and folders change
# The package variables are lists.
install_packages $CADRE_BUILD_PACKAGES $CADRE_BACKEND_PACKAGES
fetch_engines
weights=$(sh "$here/weights.sh" all)
smollm2=$(sh "$here/weights.sh" smollm2)
minilm=$(sh "$here/weights.sh" minilm)

say "building in build/release"
cd "$top"
cmake --preset release -DCADRE_BACKENDS="$CADRE_ALL_BACKENDS" -DCADRE_IMAGES=ON -DCADRE_FETCH=ON >&2
cmake --build build/release >&2
cd "$OLDPWD"
examples=$top/build/release/examples
mkdir -p "$examples/weights" "$examples/cadre-cli/weights"
printf '%s\n' "$weights" | while read -r file; do
    ln -sf "$file" "$examples/weights/"
    ln -sf "$file" "$examples/cadre-cli/weights/"
done

for name in $names; do
    run_example "$name" "$@"
done
[ "$names" != "$programs" ] || say "all of them ran but $server, which is a server, and fetch, which needs a hub: sh examples/run.sh $server"
