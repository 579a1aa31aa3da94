"""Where a model's bytes come from: the local folder."""
