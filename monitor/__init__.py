"""Booking Monitor: makes sure a paid booking reaches its provider, and wakes somebody when it does not."""

from importlib.metadata import version

__version__ = version("booking-monitor")
