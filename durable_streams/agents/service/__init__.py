"""The adapter as an HTTP service, on aiohttp. ``docs/agents.md`` has its endpoints."""
