"""From files to pairs: manifests, splits, pair rules, the image store and augmentation."""
