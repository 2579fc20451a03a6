"""Other tools' files in, and ours out."""
