"""Encoders, pair heads, and the functions of the protocols: training and evaluation with torch."""
