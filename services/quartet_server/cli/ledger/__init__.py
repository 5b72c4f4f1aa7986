"""`quartet agents`: the agents ledger on the command line."""
