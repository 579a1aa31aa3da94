"""The long-running side: `uploader run` in the foreground, as systemd starts it."""
