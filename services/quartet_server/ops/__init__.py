"""What operators ask of the databases of records."""
