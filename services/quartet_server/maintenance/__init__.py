"""The service for operators: collection, checks, and what takes how much room."""
