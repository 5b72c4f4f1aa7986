"""Stores of blobs that are mounted while the cluster runs: opened by each node when it needs them."""
