"""What the product costs and how good its regions are, beside others on the same pixels; run by name."""
