"""Real servers and receivers that the tests start."""
