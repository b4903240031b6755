#!/bin/bash
# Install what is missing of the packages listed in the file named, if this user may; say so and go on if not.
# The tests that need them skip on a desk and fail in continuous integration (tests/conftest.py, require_tool).
set -eu

list="$1"
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || exit 0

missing=()
for package in $(sed 's/#.*//' "$list"); do
    status="$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)"
    [ "$status" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo --non-interactive true 2>/dev/null; then
        echo "Not installed (no root): ${missing[*]}. The tests that need them are skipped." >&2
        exit 0
    fi
    as_root=(sudo --non-interactive)
fi

# RUNLEVEL=1: the tests start their own servers on ports of their own; the packages' daemons stay off.
install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install --yes --quiet --no-install-recommends "$@" </dev/null
}

echo "Installing for the tests: ${missing[*]}"
"${as_root[@]}" apt-get update --quiet </dev/null || true
install "${missing[@]}" && exit 0
for package in "${missing[@]}"; do
    install "$package" || echo "Could not install $package; the tests that need it are skipped." >&2
done
