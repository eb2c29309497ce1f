"""Records: what a finished run leaves, and how it is kept; nothing here imports torch or pandas."""
