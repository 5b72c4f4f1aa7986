"""The store in a bucket: S3, Google Cloud Storage, Azure, or obstore's memory; needs the extra `s3`."""

from quartet_server.objects.bucket.opening import open_bucket
from quartet_server.objects.bucket.store import BucketBlobs

__all__ = ["BucketBlobs", "open_bucket"]
