"""The tree of names and metadata: directories, files, symbolic links and their extended attributes."""
