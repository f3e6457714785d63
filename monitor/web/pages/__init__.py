"""The pages for people: the status of everything, one incident, one booking."""
