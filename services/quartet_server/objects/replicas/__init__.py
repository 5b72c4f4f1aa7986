"""Copies of blobs on the disks of several nodes: who keeps which, writing, reading, and mending what is missing."""
