# Shared by the scripts: sourced, never run. Sets `root`, the project's folder, and goes there.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# What build.sh needs for every kind of build.
# shellcheck disable=SC2034
build_packages=(cmake gcc libc6-dev libcmocka-dev make pkg-config)

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root for: $* (there is no sudo)"
    fi
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = 'ii ' ]
}

# install_packages WHY PACKAGE...: install what is missing, from Debian only.
install_packages() {
    local why=$1 missing=() package
    shift
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "this is not Debian: install yourself, $why: ${missing[*]}"
    say "installing, $why: ${missing[*]}"
    run_apt "${missing[@]}"
}

# Servers among the packages must not start by themselves: invoke-rc.d asks policy-rc.d, and 101
# says no. One that is there already is left as it is.
run_apt() (
    policy=/usr/sbin/policy-rc.d
    log=$(mktemp)
    made=("$log")
    trap 'as_root rm -f "${made[@]}"' EXIT
    if [ ! -e "$policy" ]; then
        made+=("$policy")
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    update_package_lists
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" </dev/null >"$log" 2>&1 ||
        { cat "$log" >&2 && die "apt-get could not install: $*"; }
)

update_package_lists() {
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update </dev/null
}
