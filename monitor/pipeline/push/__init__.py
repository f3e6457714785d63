"""Web Push: what a browser subscribes with, and how a message reaches its push service."""
