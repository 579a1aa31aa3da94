"""Asks the live services what nobody has published, with a model of a few KB that is then deleted.

Two models of one id, one after the other: the first is validated before it has its files, which may
spoil it (docs/fireworks.md §0.8), the second becomes READY. Every request has its timeout, all of
them together `probe_calls.BUDGET_S`, and the last deletion `CLEAN_UP_S`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from typing import Self

from uploader import wiring
from uploader.core import probe_model
from uploader.core import probe_reading as reading
from uploader.core.errors import RemoteError, UploaderError
from uploader.core.probe import Item, Line, shape, state_word
from uploader.core.remote_model import RemoteModel
from uploader.core.resumable import UploadUrl
from uploader.core.verdict import Verdict
from uploader.service.doctor.probe_calls import Calls, Over
from uploader.service.doctor.probe_storage import Sending
from uploader.settings.schema import Settings

#: Where only some requests a minute are allowed, the last one may have to wait for one.
CLEAN_UP_S = 180.0
#: Seconds between two validateUpload, and how many there are at most.
POLL_S, MOST_POLLS = 5.0, 60

_Urls = dict[str, UploadUrl]


class Probe:
    """One probe; as a context it leaves no model behind, unless ``keep``.

    ``tell`` gets what a person has to know about the model; the lines name neither it nor the
    account.
    """

    def __init__(self, settings: Settings, *, keep: bool, tell: Callable[[str], None]) -> None:
        """Names the model, and creates nothing. Raises RemoteError, UsageError."""
        self.model_id = f"uploader-probe-{secrets.token_hex(4)}"
        self.account = settings.fireworks.account_id or _account(settings)
        #: A model that should have been deleted may still be there.
        self.left_behind = False
        self._settings = settings
        self._keep = keep
        self._tell = tell
        self._calls = Calls(settings)
        self._stands = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.end()
        if not self._stands:
            return
        by_hand = f"`uploader model delete {self.model_id} --yes`"
        if self._keep:
            self._tell(f"{self.model_id} is kept; {by_hand} deletes it")
            return
        self.left_behind = True
        try:
            self.left_behind = not _deleted(self._settings, self.account, self.model_id)
        finally:
            stays = f"{self.model_id} could not be deleted: {by_hand}"
            self._tell(stays if self.left_behind else f"{self.model_id} was deleted")

    @property
    def sizes(self) -> dict[str, int]:
        """The files of the model, in bytes."""
        return {name: len(content) for name, content in probe_model.files().items()}

    def lines(self) -> Iterator[Line]:
        """What was seen, line by line; an item that could not be asked has none."""
        with self._calls.counted() as counted:
            _, what = self._calls.ask("verifyApiKey", self._calls.stranger.account)
            yield Line(Item.BAD_KEY, what)
            yield from self._first_model()
            yield from self._second_model()
        yield from counted()

    def said(self, line: Line) -> str:
        """All that was seen, without the names of account and model."""
        return line.seen(self.account, self.model_id)

    # -- the two models --------------------------------------------------------------------

    def _first_model(self) -> Iterator[Line]:
        calls = self._calls
        yield from self._create(Item.CREATE)
        model = self._get()
        shown = model.huggingface_files if model else None
        yield Line(Item.FILES_SHOWN, reading.files_shown(shown, probe_model.files()))
        nested, what = self._urls({probe_model.NESTED: b"nested"})
        yield Line(Item.NESTED_NAMES, reading.nested(nested, what))
        if nested:
            yield from Sending(calls).cancelled(nested[probe_model.NESTED], len(b"nested"))
        empty, what = self._urls({probe_model.EMPTY: b""})
        if empty:
            what = Sending(calls).stored(empty[probe_model.EMPTY], b"")
        yield Line(Item.ZERO_BYTES, what)
        self._urls(probe_model.files())
        _, what = self._validate()
        yield Line(Item.EARLY_VALIDATE, what, calls.words)
        _, what = self._urls(probe_model.files())
        yield Line(Item.URLS_AFTER_EARLY, what)
        yield from self._delete()

    def _delete(self) -> Iterator[Line]:
        control = self._calls.control
        _, what = self._calls.ask(
            "delete model", lambda: control.delete(self.account, self.model_id)
        )
        if not self._calls.done:
            yield Line(Item.DELETE, what)
            raise Over
        yield Line(Item.DELETE, shape(self._calls.status, self._calls.body))
        _, what = self._calls.ask("get model", self._get_it)
        self._stands = self._calls.refused != HTTPStatus.NOT_FOUND
        yield Line(Item.GONE, what)

    def _second_model(self) -> Iterator[Line]:
        files = probe_model.files()
        yield from self._create(Item.RECREATE)
        urls, what = self._urls(files)
        if not urls:
            yield Line(Item.URL_KIND, what)
            raise Over
        now = wiring.clock().now()
        yield from reading.urls(urls, self._calls.body, now, self.account, self.model_id)
        again, what = self._urls(files)
        yield Line(Item.URLS_AGAIN, reading.same_paths(urls, again, what))
        urls = again or urls
        sending = Sending(self._calls)
        weights = probe_model.WEIGHTS
        yield from sending.watched(urls[weights], files[weights])
        later, what = self._urls(files)
        yield Line(Item.URLS_WITH_FILES, reading.same_paths(urls, later, what))
        plain, what = self._urls(files, resumable=False)
        yield Line(Item.PLAIN_URL, reading.kind_of(plain[weights]) if plain else what)
        yield from sending.rest(plain or later or urls, files)
        yield from self._landing()
        yield from self._end()

    def _landing(self) -> Iterator[Line]:
        """Ask until it is READY; of the answers on the way, the first is shown."""
        polls, warnings, what = 0, None, ""
        while polls < MOST_POLLS:
            warnings, what = self._validate()
            if warnings is not None or not self._calls.not_yet:
                break
            if not polls:
                yield Line(Item.LANDING_ANSWER, what, self._calls.words)
            polls += 1
            self._calls.wait(min(POLL_S, self._settings.validation.poll_interval_s))
        if warnings is None:
            what = "not yet" if self._calls.not_yet else what
            yield Line(Item.READY, what, self._calls.words)
            return
        model = self._get()
        state = state_word(model.state) if model else "not shown"
        at_once = " at once" if not polls and state == "READY" else ""
        yield Line(Item.READY, f"{state}{at_once}", f"after {polls} times FAILED_PRECONDITION")
        yield Line(Item.WARNINGS, str(len(warnings)) if warnings else "none")

    def _end(self) -> Iterator[Line]:
        """What is asked of a model that has its files."""
        calls = self._calls
        _, what = self._urls(probe_model.files())
        yield Line(Item.URLS_WHEN_READY, what)
        if self._get() is not None:
            shown = b'"gcsUri"' in calls.body or b'"gcs_uri"' in calls.body
            yield Line(Item.GCS_URI, "present" if shown else "absent")
        _, what = calls.ask("create model", self._create_it)
        yield Line(Item.CREATE_AGAIN, what)

    # -- calls -----------------------------------------------------------------------------

    def _create(self, item: Item) -> Iterator[Line]:
        """Create it: from before the first request on, it may be there. Raises Over if it is not.

        An id that is taken is ours only if an earlier answer was lost: it is random.
        """
        self._stands = True
        before = self._calls.repeats
        _, what = self._calls.ask("create model", self._create_it)
        refused = self._calls.refused
        taken = refused == HTTPStatus.CONFLICT and self._calls.repeats > before
        if not (self._calls.done or taken):
            if item is Item.CREATE:  # the first one may stand
                self._stands = refused // 100 != 4  # noqa: PLR2004 - HTTP's class of refusals
            yield Line(item, what, self._calls.words)
            raise Over
        model = self._get()
        yield Line(item, f"200 {state_word(model.state)}" if model else "200, and no answer to GET")

    def _create_it(self) -> None:
        body = probe_model.create_body(self.model_id, sorted(probe_model.files()))
        self._calls.control.create(self.account, body)

    def _get_it(self) -> RemoteModel:
        return self._calls.control.get(self.account, self.model_id)

    def _get(self) -> RemoteModel | None:
        return self._calls.ask("get model", self._get_it)[0]

    def _validate(self) -> tuple[tuple[str, ...] | None, str]:
        control = self._calls.control
        return self._calls.ask(
            "validateUpload", lambda: control.validate(self.account, self.model_id)
        )

    def _urls(
        self, files: Mapping[str, bytes], *, resumable: bool = True
    ) -> tuple[_Urls | None, str]:
        sizes = {name: len(content) for name, content in files.items()}
        control = self._calls.control
        return self._calls.ask(
            "getUploadEndpoint",
            lambda: control.upload_urls(self.account, self.model_id, sizes, resumable=resumable),
        )


def _account(settings: Settings) -> str:
    with closing(wiring.service(settings)) as service:
        return service.account()


def _deleted(settings: Settings, account: str, model_id: str) -> bool:
    """Delete it, on connections of its own: those of the probe may have been cut."""
    calls = Calls(settings, CLEAN_UP_S)
    try:
        calls.repeated("delete model", lambda: calls.control.delete_surely(account, model_id))
    except UploaderError as error:
        return isinstance(error, RemoteError) and error.verdict is Verdict.ABSENT
    finally:
        calls.end()
    return True
