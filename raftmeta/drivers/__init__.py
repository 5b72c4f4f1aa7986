"""Drivers of the Metastore contract: `remote` for any etcd v3 endpoint, `embedded` for a member in this process."""
