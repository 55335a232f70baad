#!/bin/sh
# Run every test, phase by phase: run-tests.sh MAKE PYTHON [PYTEST_ARGUMENT...]
#
# Names each phase as it starts, and says at the end how long each took: before pytest's closing line, which stays the
# last, or at once when a phase fails, which ends the run. Tests run side by side, a worker for each core, groups of them
# (`xdist_group`) first. With arguments for pytest those are all it gets, and the vendors' packages are left out.
set -eu

make=$1 python=$2
shift 2
PHASES=$(mktemp)
export PHASES
trap 'rm -f "$PHASES"' EXIT

phase() {
    name=$1 began=$(date +%s)
    shift
    printf '\n== %s ==\n' "$name"
    status=0
    "$@" || status=$?
    printf '%5d s  %s\n' $(($(date +%s) - began)) "$name" >>"$PHASES"
    [ "$status" -eq 0 ] || {
        cat "$PHASES"
        echo "FAILED: $name"
        exit "$status"
    } >&2
}

target() {
    "$make" --no-print-directory --silent "$@"
}

phase "commands: curl, node, npm, Chromium" target commands browser
phase "Python environment" target python-environment
phase "npm packages" target npm-packages
if [ $# -eq 0 ]; then
    phase "vendors' packages" target -j2 vendors-packages
    phase "tests with the vendors' packages" target test-sdks
    set -- -n auto --dist loadgroup
fi
printf '\n== %s ==\n' pytest
"$python" -m pytest -p tests.phases "$@"
