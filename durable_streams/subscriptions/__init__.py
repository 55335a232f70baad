"""Subscriptions on the server's side: which one an append wakes, who holds it, how far it has come (§6, §7)."""
