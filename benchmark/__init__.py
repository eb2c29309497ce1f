"""comface-bench: which backbone best estimates how a face changed."""
