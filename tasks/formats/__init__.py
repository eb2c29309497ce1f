"""Readers of data sets as they lie on disk; each returns plain rows and never writes."""
