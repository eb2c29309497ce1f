"""Built-in protocols: light modules that declare `CARD` or `CARDS`, with torch inside functions only."""
