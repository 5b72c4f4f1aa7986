"""Mounts: stores of blobs for what is written below a directory, while the cluster runs."""
