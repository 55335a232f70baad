"""The protocol's rules and its wire: pure functions and values, shared by server and client.

Owns: every decision that PROTOCOL.md makes (one module per topic, the section named beside each rule) and the bytes
that cross the wire. Must not know: sockets, disks, clocks, randomness, logging; those arrive as plain arguments.
Invariant: the same arguments give the same answer, and a refusal changes nothing.
"""
