"""Tasks: one module per family of tasks, each declaring its cards."""
