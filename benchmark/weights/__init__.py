"""Weights: files of other people, read as tensors only, checked, and loaded strictly."""
