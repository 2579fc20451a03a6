"""Jobs: predictions and explanations that are stored, run by workers, and resumed after a restart."""
