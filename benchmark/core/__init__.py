"""Declared facts and small pure functions; nothing here imports torch or pandas."""
