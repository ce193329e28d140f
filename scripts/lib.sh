# Sourced by the scripts beside it: where things are, and how what they need is installed.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pi-cam-daemon

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# lock PATH: until this subshell ends, no other run makes what is at PATH
lock() {
    mkdir -p "$(dirname "$1")"
    exec {lock}>"$1.lock"
    flock "$lock"
}

# missing PACKAGE...: those that are not installed
missing() {
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
    done
}

# apt_install PACKAGE...: those that are missing, if this user may; otherwise it names them and fails
apt_install() {
    local missing sudo=()
    read -ra missing <<<"$(missing "$@")"
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v dpkg-query >/dev/null || { say "no Debian here to install from; needed: $*"; return 1; }
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null ||
            { say "missing; install with: sudo apt install --no-install-recommends ${missing[*]}"; return 1; }
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    local install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 "${missing[@]}")
    # the package lists may be old, or not there yet
    "${install[@]}" >/dev/null 2>&1 || { "${sudo[@]}" apt-get update -qq && "${install[@]}" >/dev/null; }
}

# make_venv DIR VENV_OPTIONS REQUIREMENT...: a virtual environment, made anew when what it is made of changed; for
# -e . that is pyproject.toml, too. PYTHON names another interpreter than python3.
make_venv() (
    local dir=$1 options=$2 python=${PYTHON:-python3} stamp
    shift 2
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or later is needed, and $python is $("$python" --version 2>&1)"
    stamp=$({ [[ " $* " != *" -e . "* ]] || cat pyproject.toml; "$python" -VV; echo "$dir $options $*"; } | sha256sum)
    lock "$dir"
    [ "$(cat "$dir/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    say "installing what is needed into $dir"
    rm -rf "$dir"
    # shellcheck disable=SC2086  # options are words
    "$python" -m venv $options "$dir"
    # A numpy of the system's stays: apt's picamera2 and simplejpeg were built against that one.
    "$dir/bin/python" -c 'import numpy; print("numpy==" + numpy.__version__)' >"$dir/constraints" 2>/dev/null || true
    "$dir/bin/pip" install -q --disable-pip-version-check -c "$dir/constraints" "$@"
    echo "$stamp" >"$dir/.stamp"
)

# make_test_venv: what the project and its tests depend on, in $venv; the project itself is taken from this checkout
make_test_venv() {
    local requirements
    mapfile -t requirements < <("${PYTHON:-python3}" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["test"], sep="\n")')
    # a name of its own for each set, so that two checkouts do not take it away from each other
    venv=$CACHE/test-venv-$(printf '%s\n' "$("${PYTHON:-python3}" -VV)" "${requirements[@]}" | sha256sum | cut -c1-12)
    make_venv "$venv" "" "${requirements[@]}"
}
