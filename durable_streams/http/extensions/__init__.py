"""What the server does beyond the protocol: batch and streaming appends, many streams on one connection, the tail.

Must not know: how a request travelled, how appends are decided.
"""
