#!/bin/sh
# Install the peers that the bench compares with, once: from npm and PyPI, below bench/peers. A peer that cannot be
# installed is left out; the bench says so in its rows.
set -eu

cd "$(dirname "$0")/peers"
python=${1:-python3}

if [ ! -e node/node_modules/.installed ]; then
    echo "Installing the Node server in bench/peers/node ..." >&2
    if (cd node && npm install --no-package-lock --loglevel=error --no-audit --no-fund >&2); then
        touch node/node_modules/.installed
    else
        echo "could not install the Node server" >&2
    fi
fi
if [ ! -e python/venv/.installed ]; then
    echo "Installing the Python peer in bench/peers/python ..." >&2
    if "$python" -m venv --clear python/venv &&
        python/venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement python/requirements.txt >&2
    then
        touch python/venv/.installed
    else
        echo "could not install the Python peer" >&2
    fi
fi
