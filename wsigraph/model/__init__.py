"""Stage and survival read from a coarse graph by attention."""
