# Sourced by ./run and ./test: finds Python, makes .venv and installs exactly what a lock file says.
# Nothing here needs the network once the stamp in .venv matches the lock.
#
#   set_up NAME     install requirements/NAME.txt (runtime or test) and this checkout itself

set -euo pipefail
umask 022
unset PYTHONPATH PYTHONHOME # a foreign module path must not shadow the locked packages

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$ROOT/.venv"

die() {
    printf '%s\n' "$*" >&2
    exit 2
}

# need_debian_package PROBE PACKAGE...: when the command PROBE fails, install the packages (as root)
# or say exactly what to install. The place for every Debian package that the product needs.
need_debian_package() {
    local probe="$1"
    shift
    if bash -c "$probe" >/dev/null 2>&1; then
        return 0
    fi
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        printf 'Installing Debian packages: %s\n' "$*" >&2
        export DEBIAN_FRONTEND=noninteractive
        # The package lists may be missing (container) or old; only then is an update needed.
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 \
            || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; } \
            || die "Could not install $*. Run: apt-get update && apt-get install $*"
    fi
    bash -c "$probe" >/dev/null 2>&1 || die "Missing: $*. Run: sudo apt-get install $*"
}

# Print the first Python that really runs (a version manager's shim may not) and is new enough.
find_python() {
    local candidate
    for candidate in python3.11 python3 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# What the environment must have been made from. The path counts, because programs in .venv and the
# link to this checkout carry it.
fingerprint() {
    {
        printf '%s\n' "$ROOT"
        cat "$ROOT/requirements/$1.txt" "$ROOT/pyproject.toml"
    } | sha256sum
}

is_ready() {
    [ -x "$VENV/bin/python" ] && [ -x "$VENV/bin/headend" ] && [ -f "$VENV/.stamp-$1" ] \
        && [ "$(cat "$VENV/.stamp-$1")" = "$(fingerprint "$1")" ]
}

make_venv() {
    local python
    python="$(find_python)" || {
        need_debian_package "python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'" \
            python3 python3-venv
        python=python3
    }
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        need_debian_package "$python -c 'import ensurepip, venv'" \
            "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
}

install_locked() {
    local log="$VENV/install.log"
    # Marks the environment as half-made until the end: a killed installation is begun anew,
    # because a package may have been left without some of its files.
    : >"$VENV/.installing"
    if ! {
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --require-hashes --only-binary :all: -r "$ROOT/requirements/$1.txt" \
            && "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
                --no-deps --no-build-isolation --no-index --editable "$ROOT"
    } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "Could not install requirements/$1.txt: see above, and $log. Is a package index reachable?"
    fi
    rm -f "$VENV/.installing"
}

set_up() {
    is_ready "$1" && return 0
    # One set-up at a time; the lock is the checkout's folder itself and ends with this process.
    exec 9<"$ROOT"
    flock 9
    if ! is_ready "$1"; then
        printf 'Setting up .venv (about a minute the first time) ...\n' >&2
        if [ -e "$VENV/.installing" ] || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
            make_venv
        fi
        install_locked "$1"
        fingerprint "$1" >"$VENV/.stamp-$1"
        # The test lock holds everything of the runtime lock, in the same versions.
        [ "$1" = test ] && fingerprint runtime >"$VENV/.stamp-runtime"
    fi
    exec 9<&-
}
