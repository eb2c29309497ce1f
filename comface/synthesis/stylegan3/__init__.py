"""StyleGAN3 (Karras et al., NeurIPS 2021), written from the paper for inference."""
