"""The named checks. Each is one function that yields findings under its own name.

Its docstring's first line is its row in docs/preflight.md. It never raises, and what another check
already tells it does not tell again. What the service, or every loader, surely refuses is an
error; what it may refuse a warning: a wrong refusal is worse than a miss.
"""
