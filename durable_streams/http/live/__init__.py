"""Live reads: catching up by pages, then frames as they are committed.

Must not know: which front read the request.
"""
