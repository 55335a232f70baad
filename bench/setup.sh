#!/bin/sh
# Install the peers that the bench compares with: from npm and PyPI, below bench/peers, exactly as their locks say, once
# and again when those change. A peer that cannot be installed is left out; the bench says so in its rows.
set -eu

cd "$(dirname "$0")/peers"
python=${1:-python3}

if ! cmp -s node/package-lock.json node/node_modules/.installed; then
    echo "Installing the Node server in bench/peers/node ..." >&2
    if (cd node && npm ci --loglevel=error --no-audit --no-fund >&2); then
        cp node/package-lock.json node/node_modules/.installed
    else
        echo "could not install the Node server" >&2
    fi
fi
if ! cmp -s python/requirements.lock python/venv/.installed; then
    echo "Installing the Python peer in bench/peers/python ..." >&2
    if "$python" -m venv --clear python/venv &&
        ../../scripts/install.sh python/venv/bin/python python/requirements.lock >&2
    then
        cp python/requirements.lock python/venv/.installed
    else
        echo "could not install the Python peer" >&2
    fi
fi
