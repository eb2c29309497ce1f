"""StyleGAN (Karras et al., CVPR 2019), written from the paper for inference."""
