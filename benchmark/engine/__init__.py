"""Training and evaluation with torch: encoders, features, pair heads and the two ways to train."""
