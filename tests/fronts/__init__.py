"""The two fronts side by side."""
