"""Renderer of faces: anny's head model, rasterised and shaded by warp; both are imported at first use."""
