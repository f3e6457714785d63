"""What is measured together in one round, so that its numbers can be compared."""
