"""A renderer of faces on anny's head model and warp's ray caster; imports neither until it renders."""
