"""The LMDB engine and the offline tools for its data directory.

The one room that knows LMDB. Must not know: any rule of the protocol.
"""
