"""Pre-training of ComFace: who a face is, and how much it changed, from pairs of synthetic faces."""
