"""The HTTP face: routes, authentication, realtime endpoints."""
