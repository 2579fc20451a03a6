"""Pure scores of stage and survival: arrays in, numbers with intervals out."""
