"""What a booking, a journey and an objective are; judgement and statistics. Pure: no I/O, no clock, no logging."""
