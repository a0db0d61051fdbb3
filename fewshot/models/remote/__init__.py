"""Models behind an address: the two wires of typed decisions, and the client that speaks them."""
