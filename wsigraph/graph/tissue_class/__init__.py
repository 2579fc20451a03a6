"""Classes of tissue for the regions of a graph, each named only where a conformal set is certain."""
