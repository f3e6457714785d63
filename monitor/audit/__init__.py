"""Judging what is due, repairing what is missing, auditing history."""
