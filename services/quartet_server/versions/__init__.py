"""What files were before: every generation, how long it is kept, and the way back to it."""
