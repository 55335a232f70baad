"""What the server process costs in memory."""
