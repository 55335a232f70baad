"""The use cases of streams: create, append, read, follow, fork, delete, list.

Must not know: HTTP, how bytes are stored.
"""
