"""Studies: grids whose results become one table, each declared in a TOML file."""
