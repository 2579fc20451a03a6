"""The slides of a cohort on a cluster: scheduling, retries, leases and the summary."""
