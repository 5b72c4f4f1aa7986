"""What `quartet cp` does: trees move between this machine and the cluster, what is there already stays where it is."""
