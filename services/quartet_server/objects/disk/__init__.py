"""The store on a local disk: small blobs in packs, large ones in files, an index that can be made anew from both."""

from quartet_server.objects.disk.store import DiskBlobs, DiskLimits

__all__ = ["DiskBlobs", "DiskLimits"]
