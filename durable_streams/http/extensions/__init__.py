"""What the server does beyond the protocol: batch and streaming appends, many streams on one connection, the tail."""
