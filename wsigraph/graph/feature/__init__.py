"""What is measured in a region: additive moments, interpretable features, encodings."""
