"""Templates of plugins: each a working module, copied under another name by `comface-bench new`."""
