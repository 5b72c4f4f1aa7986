"""The cluster as its users see it: nodes, leadership, zones and where they live."""
