#!/bin/sh
# Create a virtual environment: ensure-venv.sh PYTHON DIRECTORY
#
# Debian ships python3 without ensurepip; as root we install what is missing, elsewhere we say what to install.
set -eu

python=$1
directory=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or later is needed, $python is $("$python" -V 2>&1): set PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "$python cannot create environments: install its venv package (on Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2
fi
exec "$python" -m venv --clear "$directory"
