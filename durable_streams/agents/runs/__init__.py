"""One attempt at an answer: driven, scoped, coalesced and written to its stream."""
