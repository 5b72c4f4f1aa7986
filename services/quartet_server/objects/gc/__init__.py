"""Collecting blobs that nothing leads to, and what else a store needs now and then."""
