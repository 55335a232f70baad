"""Stores behind one compare-and-swap seam: they keep heads, chunks and producers, and decide nothing.

Must not know: any rule of the protocol.
"""
