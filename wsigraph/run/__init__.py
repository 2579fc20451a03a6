"""One slide or a cohort of slides through all the steps, on this machine or on a cluster."""
