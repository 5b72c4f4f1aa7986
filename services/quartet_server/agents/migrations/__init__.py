"""The history of the database `agents`."""
