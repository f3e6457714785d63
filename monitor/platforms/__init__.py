"""Where bookings live: one folder for each platform, behind the interface `audit.platform.Platform`."""
