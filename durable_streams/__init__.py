"""A self-hosted Durable Streams 1.0 server, its client and its command line.

Import from the modules below; this one carries the version alone, so that importing any part costs only that part.
"""

__version__ = "0.1.0"
