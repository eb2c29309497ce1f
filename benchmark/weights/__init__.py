"""Weights: other people's files, fetched, checked, read as tensors only, and loaded strictly."""
