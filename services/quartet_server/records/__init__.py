"""The RecordStore: records from descriptors, on SQLite and PostgreSQL."""
