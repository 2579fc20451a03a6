"""Import and export of other tools' file formats."""
