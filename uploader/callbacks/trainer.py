"""The callback for `transformers.Trainer`, and for trainers that are made of it (TRL, axolotl)."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import uploader
from uploader.api.enqueuing import check_options
from uploader.core.errors import PreflightRefused, UploaderError, UsageError

_log = logging.getLogger(__name__)

_STEP = "{step}"


def _trainer_callback() -> Any:
    try:
        return importlib.import_module("transformers.trainer_callback").TrainerCallback
    except ImportError as error:
        raise ImportError(
            "UploaderCallback needs transformers: pip install transformers"
        ) from error


class UploaderCallback(_trainer_callback()):  # type: ignore[misc] # the class is found at run time
    """Enqueues each checkpoint that a `transformers.Trainer` has saved; a worker sends it.

    The options are those of `uploader.enqueue`; ``{step}`` in ``model_id`` stands for the step. If
    ``model_id`` is None, the id is made of the names of both folders. ``snapshot`` is "hardlink"
    here, so that ``save_total_limit`` may delete a checkpoint that is being sent; with None it may
    not.

    Nothing that goes wrong ends the training: it is a warning of the logger `uploader.callbacks`.

        trainer = Trainer(…, callbacks=[UploaderCallback(model_id="my-run-{step}")])

    Raises TypeError for an option that `uploader.enqueue` does not have, and UsageError for a value
    that no folder could make right: before the training, not after hours of it.
    """

    def __init__(
        self, *, model_id: str | None = None, snapshot: str | None = "hardlink", **options: Any
    ) -> None:
        super().__init__()
        if model_id is not None and _STEP not in model_id:
            message = f"`model_id` {model_id!r} would be the same for each checkpoint"
            raise UsageError(message, hint=f"let it contain {_STEP}, as {model_id}-{_STEP}")
        self._model_id = model_id
        self._options = {**options, "snapshot": snapshot}
        check_options(model_id=self._model_of(0), **self._options)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Enqueue the checkpoint of this step: once, by the first of all processes."""
        del control, kwargs
        if state.is_world_process_zero:
            self._enqueue(Path(args.output_dir), state.global_step)

    def _enqueue(self, output: Path, step: int) -> None:
        folder = output / f"checkpoint-{step}"
        try:
            job = uploader.enqueue(folder, model_id=self._model_of(step), **self._options)
        except Exception as error:  # noqa: BLE001 - hours of training are worth more than an upload
            _log.warning("%s is not enqueued: %s", folder, _words(error))
        else:
            _log.info("%s is job %d: %s", folder, job.id, job.model)

    def _model_of(self, step: int) -> str | None:
        return self._model_id and self._model_id.replace(_STEP, str(step))


def _words(error: Exception) -> str:
    if not isinstance(error, UploaderError):
        return repr(error)
    found = error.findings if isinstance(error, PreflightRefused) else ()
    refusals = [finding.message for finding in found if finding.severity == "error"]
    return f"{'; '.join([error.message, *refusals])} ({error.hint})"
