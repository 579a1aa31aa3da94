"""The configuration: its settings (`schema`), their origins (`load`), how values read (`units`)."""
