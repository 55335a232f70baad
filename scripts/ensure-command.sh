#!/bin/sh
# Make sure that a command exists: ensure-command.sh COMMAND DEBIAN_PACKAGE...
#
# Silent when it does. Otherwise installs the packages where that needs no question (Debian or a relative, as root),
# and elsewhere stops with one line that says what to install.
set -eu

command=$1
shift

if command -v "$command" >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "$command is missing: install it with your package manager (on Debian: apt-get install $*)" >&2
    exit 1
fi
echo "$command is missing: installing $*" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "$@" >&2
command -v "$command" >/dev/null
