"""The Remote Execution API's services for blobs, over any `BlobStore`: what BuildGrid, Bazel and their like speak."""
