"""Statistics of change estimates; nothing here imports torch or pandas."""
