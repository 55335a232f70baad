"""`python -m durable_streams`: the command line, for where the `durable-streams` script is not on PATH."""

from durable_streams.cli import main

if __name__ == "__main__":
    main()
