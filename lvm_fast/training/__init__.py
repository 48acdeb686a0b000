"""Training: a recipe, the loss, and a loop that one reads from top to bottom."""
