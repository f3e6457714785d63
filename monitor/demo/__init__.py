"""The demonstration: realistic bookings, some failing in chosen ways, so that all of it can be seen alive."""
