"""What streams back from a model, as events: one decoder for each wire format."""
