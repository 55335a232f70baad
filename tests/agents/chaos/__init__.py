"""Servers and adapters that are killed, frozen and told wrong times, and what must hold whatever happens to them."""
