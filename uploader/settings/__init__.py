"""The configuration: its settings (`schema`), their origins (`load`), their units (`units`)."""
