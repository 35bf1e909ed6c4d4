#!/bin/sh
# install-deps.sh PACKAGE... - installs the Debian packages that are not there yet, as root or through sudo.
set -eu
missing=
for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q ' installed$' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing" >&2
if [ "$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else
    echo "install-deps: not root and no sudo; as root: apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# An index that is days old names files that are gone: refresh it first. One retry, for mirrors that hiccup.
for try in 1 2; do
    # shellcheck disable=SC2086 # the lists are words
    if $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null; then exit 0; fi
    echo "install-deps: attempt $try failed" >&2
done
exit 1
