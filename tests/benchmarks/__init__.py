"""Measures Booking Monitor against its peers, side by side on the same machine and disk."""
