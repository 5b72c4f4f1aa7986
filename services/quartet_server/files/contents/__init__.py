"""The bytes of files: small ones in the inode, larger ones as chunks in the ObjectStore."""
