"""The three wire formats of models: what is sent, and what streams back as events."""
