"""What the paper finds and claims, measured on any network: images in, tensors out."""
