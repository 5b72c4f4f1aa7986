"""What services share when they speak to the Metastore: operations, reads at one revision, writes that retry safely."""
