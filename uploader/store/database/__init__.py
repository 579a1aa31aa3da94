"""SQLite or PostgreSQL: what differs between the two, migrations, locks and the state folder."""
