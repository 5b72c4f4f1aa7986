"""The history of the database `events`."""
