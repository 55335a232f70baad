"""Engines: stores behind one compare-and-swap seam."""
