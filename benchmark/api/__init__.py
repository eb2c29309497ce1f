"""The Python interface: runs, lists and results, as the command line has them."""
