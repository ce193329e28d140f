# Sourced by the other scripts: paths, messages, and installation of what they need.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pi-cam-daemon

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# lock PATH: hold a lock for PATH until this subshell ends, so that two runs do not make it at once
lock() {
    mkdir -p "$(dirname "$1")"
    exec {lock}>"$1.lock"
    flock --nonblock "$lock" || { say "waiting for another run that makes $1"; flock "$lock"; }
}

# check_owner DIR: end if this user may not make DIR again, as after a first start with sudo
check_owner() {
    local folder path
    folder=$(dirname "$1")
    for path in "$folder" "$1" "$1.lock" "$folder/state"; do
        [ ! -e "$path" ] || [ -w "$path" ] || die "$path belongs to $(stat -c %U "$path"), who set up this folder;" \
            "run \`sudo chown -R $(id -un) $folder\`, or start this with sudo"
    done
}

# missing PACKAGE...: print those that are not installed
missing() {
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
    done
}

# apt_install PACKAGE...: install those that are missing; if that cannot be done, print how and fail
apt_install() {
    local missing sudo=()
    read -ra missing <<<"$(missing "$@")"
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v dpkg-query >/dev/null || { say "this is not Debian; install these yourself: $*"; return 1; }
    local by_hand="missing; install with: sudo apt install --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || { say "$by_hand"; return 1; }
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    local install=(apt_get install -y -q --no-install-recommends -o APT::Status-Fd=1 "${missing[@]}")
    ! "${install[@]}" 2>/dev/null | show_apt || return 0
    # the package lists may be old, or not there yet
    say "fetching the package lists"
    apt_get update -qq && "${install[@]}" | show_apt && return
    say "$by_hand"
    return 1
}

# apt_get ARGUMENT...: apt-get, which waits ten minutes for another apt. By itself it waits for dpkg's lock, and not for
# those of the package lists and of what it fetches. The caller's array sudo is put before it.
apt_get() {
    local errors status end=$((SECONDS + 600)) said=
    while :; do
        status=0
        # the errors are read in English, and everything else is passed on
        { errors=$("${sudo[@]}" env LC_ALL=C DEBIAN_FRONTEND=noninteractive \
            apt-get -o DPkg::Lock::Timeout=600 "$@" 2>&1 >&3); } 3>&1 || status=$?
        [[ $status -ne 0 && $errors == *"Could not get lock"* && $SECONDS -lt $end ]] || break
        [ -n "$said" ] || say "waiting for another apt to end"
        said=yes
        sleep 1
    done
    [ -z "$errors" ] || printf '%s\n' "$errors" >&2
    return "$status"
}

# show_apt: print what apt-get writes to its status descriptor, and that it waits for another apt; a line in 2 seconds
show_apt() {
    local kind percent text next=0
    while IFS=: read -r kind _ percent text; do
        [ "$SECONDS" -ge "$next" ] || continue
        case $kind in
            dlstatus | pmstatus) say "${percent%.*} % $text" ;;
            Waiting*) say "waiting for another apt to end" ;;
            *) continue ;;
        esac
        next=$((SECONDS + 2))
    done
}

# make_venv DIR VENV_OPTIONS REQUIREMENT...: make a virtual environment, again whenever the arguments or the Python
# change; with -e . also when pyproject.toml changes, and with --system-site-packages when the system's packages do.
# PYTHON names another interpreter than python3. All that venv and pip say is in DIR/setup.log.
make_venv() (
    local dir=$1 options=$2 python=${PYTHON:-python3} stamp
    shift 2
    trap 'exit 130' INT # else a pip that ends by Ctrl+C would count as one that failed
    check_owner "$dir"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or later is needed, but $python is $("$python" --version 2>&1)"
    stamp=$({
        [[ " $* " != *" -e . "* ]] || cat pyproject.toml
        [[ " $options " != *" --system-site-packages "* ]] || system_packages "$python"
        "$python" -VV
        echo "$dir $options $*"
    } | sha256sum)
    lock "$dir"
    [ "$(cat "$dir/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    say "setting up, about a minute: making a virtual environment in $dir"
    rm -rf "$dir"
    mkdir "$dir"
    # shellcheck disable=SC2086  # split the options at blanks
    "$python" -m venv $options "$dir" >"$dir/setup.log" 2>&1 || set_up_failed "$dir"
    # Keep the system's numpy, if there is one: apt's picamera2 and simplejpeg were built against it.
    "$dir/bin/python" -c 'import numpy; print("numpy==" + numpy.__version__)' >"$dir/constraints" 2>/dev/null || true
    "$dir/bin/pip" install --disable-pip-version-check -c "$dir/constraints" "$@" 2>&1 |
        tee -a "$dir/setup.log" | show_pip || set_up_failed "$dir"
    echo "$stamp" >"$dir/.stamp"
)

# show_pip: of what pip says, print the large files that it fetches, and that it installs
show_pip() {
    local line large='(Downloading|Using cached) ([^ ]*/)?([A-Za-z0-9_.]+)-[^ ]* \(([0-9.]+ MB)\)'
    while IFS= read -r line; do
        if [[ $line =~ $large ]]; then
            say "fetching ${BASH_REMATCH[3]}, ${BASH_REMATCH[4]}"
        elif [[ $line == "Installing collected packages"* ]]; then
            say "installing the Python packages"
        fi
    done
}

# set_up_failed DIR: end with the last words of DIR/setup.log, and say what to do
set_up_failed() {
    tail -n 5 "$1/setup.log" >&2
    local offline='Retrying|NewConnectionError|Read timed out|Connection broken'
    if grep -qE "$offline" "$1/setup.log" && ! grep -q 'No space left' "$1/setup.log"; then
        die "the internet could not be reached, and the first start needs it; start this again when it is there"
    fi
    die "setting up failed; $1/setup.log has everything that was said"
}

# system_packages PYTHON: print the versions of picamera2 and of the project's dependencies that PYTHON has
system_packages() {
    "$1" -c '
import importlib.metadata, re, tomllib
requirements = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]
for name in "picamera2", *(re.match(r"[\w.-]+", requirement)[0] for requirement in requirements):
    print(name, *(found.version for found in importlib.metadata.distributions(name=name)))'
}

# make_test_venv: make a virtual environment with the dependencies of the project and of its tests, and set venv to its
# path. The project itself is not in it: tests import this checkout.
make_test_venv() {
    local requirements
    mapfile -t requirements < <("${PYTHON:-python3}" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["test"], sep="\n")')
    # one environment for each set of dependencies, so that two checkouts do not replace each other's
    venv=$CACHE/test-venv-$(printf '%s\n' "$("${PYTHON:-python3}" -VV)" "${requirements[@]}" | sha256sum | cut -c1-12)
    make_venv "$venv" "" "${requirements[@]}"
}
