"""The two services as this client sees them: Fireworks' control plane and the storage behind it."""
