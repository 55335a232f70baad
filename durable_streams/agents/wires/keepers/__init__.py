"""What each format's responses hold beside text and calls: what the provider wants back, files, sources, tokens."""
