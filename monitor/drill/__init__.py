"""The fire drill: known faults in a sealed copy of the service, to see that the right page really leaves."""
