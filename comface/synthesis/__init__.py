"""Synthetic faces with known changes: the renderer on anny, and the set that ships."""
