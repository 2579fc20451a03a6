"""The slides of a cohort on a cluster: handed out, looked after, tried again, and told of."""
