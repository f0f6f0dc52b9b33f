#!/bin/bash
# Fetch what is missing for `make check`, `make test`, `make demo` and `make bench`: Debian packages, and the
# virtual environments .venv (the newest uvicorn and lmdb), .venv-uvicorn-* (Debian 12's and 13's) and
# .venv-bench (the peers of the benchmark; PM2 comes from npm).
# A second call finds everything in place and is done at once.
set -eu
umask 022 # workers read the environments as other users
cd "$(dirname "$0")/.."

readonly PYTHON=/usr/bin/python3 # not the first in PATH: that may be in a home, where no worker can read
readonly REQUIREMENTS=tests/requirements.txt
readonly WANTED=${1:-}

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: %s\n' "$*" >&2; exit 1; }

as_root() {
    if test "$(id -u)" = 0; then "$@"; else sudo "$@"; fi
}

# A command or Python module of the system, and the Debian package that has it.
missing_packages() {
    while read -r command package; do
        command -v "$command" >/dev/null || test -x "/usr/sbin/$command" || echo "$package"
    done <<-END
	systemd-nspawn systemd-container
	systemctl systemd
	dbus-daemon dbus
	make make
	pkg-config pkg-config
	ab apache2-utils
	wrk wrk
	node nodejs
	man man-db
	pkcheck polkitd
	cc gcc
	groff groff-base
	redis-server redis-server
	openssl openssl
	END
    test -f /usr/include/stdio.h || echo libc6-dev # what gcc only recommends
    if test "$WANTED" = test; then
        command -v curl >/dev/null || echo curl
        command -v h2load >/dev/null || echo nghttp2-client
    fi
    if test "$WANTED" = bench; then
        command -v npm >/dev/null || echo npm
        command -v taskset >/dev/null || echo util-linux
    fi
    while read -r module package; do
        $PYTHON -c "import $module" 2>/dev/null || echo "$package"
    done <<-END
	ensurepip python3-venv
	jinja2 python3-jinja2
	sdnotify python3-sdnotify
	END
    # From Debian 13 on systemd.pc is a package of its own.
    if command -v pkg-config >/dev/null && ! pkg-config --exists systemd; then echo systemd-dev; fi
}

# Run something quiet; show what it said only when it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    test $status = 0 || cat "$log" >&2
    rm -f "$log"
    return $status
}

apt() {
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"
}

packages() {
    local missing
    missing=$(missing_packages | sort -u | tr '\n' ' ')
    missing=${missing% }
    test -n "$missing" || return 0
    command -v apt-get >/dev/null || die "this is no Debian; install what these Debian packages have: $missing"
    if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
        say "reading the package lists"
        apt update || die "apt-get update failed; install by hand: $missing"
    fi
    say "installing Debian packages: $missing"
    # shellcheck disable=SC2086 # a list of words
    if ! apt install --yes --no-install-recommends $missing; then
        say "once more, with new package lists"
        apt update && apt install --yes --no-install-recommends $missing \
            || die "apt-get failed; install by hand: $missing"
    fi
    # What a package that came just now asks for (pkg-config: systemd.pc), or one that does not exist.
    missing=$(missing_packages | sort -u | tr '\n' ' ')
    test -n "$missing" || return 0
    test "$missing" != "${1:-}" || die "still missing after the installation: $missing"
    packages "$missing"
}

# environment FOLDER REQUIREMENTS-FILE [REQUIREMENT…]
environment() {
    local folder=$1 file=$2 stamp
    shift 2
    stamp="$(cksum <"$file") $* $($PYTHON --version)"
    test "$(cat "$folder/deps" 2>/dev/null)" != "$stamp" || return 0
    say "filling $folder${*:+ ($*)}; a minute or so the first time"
    grep -qsx 'home = /usr/bin' "$folder/pyvenv.cfg" || rm -rf "$folder"
    quietly $PYTHON -m venv "$folder" || die "cannot make $folder"
    quietly "$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        -r "$file" "$@" || die "pip could not fill $folder (above); is the package index reachable?"
    echo "$stamp" >"$folder/deps"
}

# The peers of the benchmark that run on Node.
pm2() {
    local folder=build/bench-node
    test ! -f $folder/node_modules/pm2/package.json || return 0
    say "installing PM2 into $folder"
    mkdir -p $folder
    quietly npm install --prefix $folder --no-audit --no-fund --no-progress --loglevel=error pm2 ||
        die "npm could not install pm2 (above); is the package index reachable?"
}

test -x $PYTHON || test -x /usr/bin/apt-get || die "$PYTHON is missing; install Python 3.11 or newer"
if ! test -x $PYTHON; then apt update && apt install --yes --no-install-recommends python3; fi
$PYTHON -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$PYTHON is $($PYTHON --version); svc needs Python 3.11 or newer"

packages
environment .venv $REQUIREMENTS
if test "$WANTED" = bench; then
    environment .venv-bench tests/requirements-bench.txt
    pm2
fi
if test "$WANTED" = test; then
    without_tools=$(mktemp)
    trap 'rm -f "$without_tools"' EXIT
    sed '/^# Tools/,$d' $REQUIREMENTS >"$without_tools"
    environment .venv-uvicorn-0.17 "$without_tools" uvicorn==0.17.6 lmdb==1.4.0 redis==4.3.4
    environment .venv-uvicorn-0.32 "$without_tools" uvicorn==0.32.0 lmdb==1.4.1 redis==4.3.4
fi
