"""Contracts that every task and method keeps, checked on the spot for those of plugins."""
