"""Live reads: catching up by pages, then frames as they are committed."""
