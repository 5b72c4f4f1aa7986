"""Snapshots of directories: Merkle trees in the store of blobs, and what is known of them in the Metastore."""
