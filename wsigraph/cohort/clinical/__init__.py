"""A hospital's clinical table: read in any usual form, mapped to the manifest's columns, and matched with slides."""
