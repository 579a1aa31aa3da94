"""A job with all that its row holds, which a list of jobs has no room for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from uploader.core.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeJob(Job):
    """A job that was read by itself: with the body that creates its model.

    That names each file, so it may have megabytes. Only a whole job can be asked for its seal.
    """

    create_body: Mapping[str, Any]
    #: When the service created the model that this job knows, or knew last, as the service says.
    model_created_at: datetime | None = None

    def listed(self) -> Job:
        """What a list shows of it."""
        return Job(**{one.name: getattr(self, one.name) for one in fields(Job)})
