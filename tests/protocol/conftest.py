"""Settings of the property tests for the runs in which only coverage counts."""

from __future__ import annotations

from hypothesis import settings

# A few examples of each property: `test_coverage.py` runs every module once more, and asks for lines, not for luck.
settings.register_profile("coverage", parent=settings.get_profile("proof"), max_examples=10)
