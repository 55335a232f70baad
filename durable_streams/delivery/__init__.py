"""Deliveries: webhook requests, and what keeps them away from the server's own network (§7.1, §12.8)."""
