"""Realtime events: who listens, what was sent, what was acknowledged."""
