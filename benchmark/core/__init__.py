"""Cards, registries, units and keys, digests, files and locks, errors.

Declared facts and small functions; nothing here imports torch or pandas.
"""
