"""The job table: one verb per transition, every worker write fenced by its lease (design §4)."""
