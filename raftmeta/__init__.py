"""The Metastore: a replicated, ordered, revisioned key-value store that speaks the etcd v3 API."""
