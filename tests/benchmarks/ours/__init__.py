"""Parts of Booking Monitor that are measured without the rest; each module runs as a process of its own."""
