"""Simulated power cuts: what a real server did to its files, cut at any moment; what of it may be on the disk then.

Run: ``python -m tests.power [IMAGES] [SEED]``, or ``make power-cuts``.
"""
