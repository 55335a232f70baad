#!/bin/sh
# Install into an environment of ours: install.sh PYTHON LOCK|DIRECTORY [PIP_OPTION...]
#
# A lock's packages, or the package in a directory, editable. The outcome is the same on every day: nothing is resolved,
# since a lock is complete, and some versions of pip look at what is newest before they look at a pin; nothing is built
# but ourselves, since a build would fetch the tools of the day. Of a person's configuration of pip it counts where
# packages come from (index, proxy, certificates), and not which they are and where they go.
set -eu

python=$1 what=$2
shift 2

unset PIP_PREFIX PIP_REQUIREMENT PIP_ROOT PIP_TARGET
export PIP_CONSTRAINT=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_HASHES=0 PIP_USER=0

if [ -d "$what" ]; then
    set -- --no-build-isolation --editable "$what" "$@"
else
    set -- --require-hashes --only-binary :all: --requirement "$what" "$@"
fi
exec "$python" -m pip install --quiet --no-deps "$@"
