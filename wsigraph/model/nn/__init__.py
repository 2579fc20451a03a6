"""The layers, pooling, heads and losses of the graph attention network."""
