"""The named checks. Each is one function that yields findings under its own name.

Its docstring's first line is its row in docs/preflight.md. It never raises, and it does not repeat
the finding of another check. Whatever the service or every loader certainly refuses is an error;
what they may refuse is a warning: a wrong refusal is worse than a miss.
"""
