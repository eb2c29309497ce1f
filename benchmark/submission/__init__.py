"""Submissions: packing a record for others, and checking and accepting what a stranger has packed."""
