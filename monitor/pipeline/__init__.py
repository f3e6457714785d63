"""Making a booking, the provider's answer, expiry; deliveries with retry: realtime and web push."""
