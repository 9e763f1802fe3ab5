"""Pure pieces that every side must compute alike, with golden vectors. Standard library only."""
