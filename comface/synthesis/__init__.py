"""Generators of synthetic faces (anny, StyleGAN, StyleGAN3), and the set that ships."""
