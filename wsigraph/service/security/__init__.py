"""Who may do what: authentication, the security middleware, rate limits, the audit log."""
