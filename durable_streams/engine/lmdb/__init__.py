"""The LMDB engine and the offline tools for its data directory."""
