"""The push services that browsers use, as hosts that a push endpoint may name."""

KNOWN_PUSH_SERVICES: tuple[str, ...] = (
    "fcm.googleapis.com",
    "*.push.services.mozilla.com",
    "*.notify.windows.com",
    "*.push.apple.com",
)
"""Chrome and Edge on Android, Firefox, Edge on Windows, Safari: the hosts seen in their PushSubscription."""
