"""`make soak`: faults of every kind, mixed, at random moments, under load; then a recount of what was promised."""
