"""The control plane of Fireworks (docs/fireworks.md), call by call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import requests
from requests.adapters import BaseAdapter

from uploader.core.addresses import is_plain, trusted
from uploader.core.errors import JobRefused, RemoteError
from uploader.core.job import ACCOUNT_ID
from uploader.core.keeping import few_lines
from uploader.core.reasons import Code
from uploader.core.redact import ApiKey, tells
from uploader.core.remote_model import VALIDATE_S, ListedModel, ModelList, RemoteModel
from uploader.core.resumable import UploadUrl, read_url
from uploader.core.verdict import Call, Verdict
from uploader.remote.client import Auth
from uploader.remote.gate import Gate
from uploader.remote.http import ANSWER_S, CONNECT_S, Session, ask, succeeded
from uploader.remote.middle_box import is_middle_box
from uploader.remote.refusals import grpc_name, json_object, malformed, refusal
from uploader.remote.words import kept, request_id, secrets_of
from uploader.runtime import Clock, bind

#: From a service that does not know verifyApiKey.
_NO_SUCH_ROUTE = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)


#: Of a moment in UTC, wherever it was written down.
_FIRST_YEAR, _LAST_YEAR = 2000, 9000
#: A list of models is read up to the first of these: pages, models, seconds. No account has as many
#: models, and a list that repeats itself has no end.
_MAX_PAGES = 500
MAX_MODELS = 10_000
_LIST_S = 300.0
_PAGE_SIZE = 200
#: It becomes a part of an address.
_MAX_TOKEN_CHARS = 2000
#: No file of ours has a longer name, so a longer one is only counted: to redact a whole answer of
#: them would take seconds.
_MAX_NAME_CHARS = 1000
#: Of more than any model has, the first ones tell that it is another one.
_MOST_NAMES = 10_000
#: So many are searched for secrets at once, in memory that does not grow with the answer.
_PORTION = 100
_LONGER_NAME = f"(a name of more than {_MAX_NAME_CHARS} characters)"


class Fireworks:
    """The calls a job needs. Each is one request, or none while the gate is closed.

    Each raises RemoteError, with its verdict from core/retry.py, or Stopped. The key is asked
    for at every request, so that a changed one is used, and goes to ``base_url`` only, which is
    as `core.addresses.base_url` spells it.
    """

    def __init__(
        self,
        base_url: str,
        key: Callable[[], ApiKey],
        clock: Clock,
        gate: Gate,
        adapter: BaseAdapter,
    ) -> None:
        self._base = base_url
        self._clock = clock
        self._gate = gate
        self._session = Session(adapter, _bearer(key), plain=is_plain(base_url))

    def account(self) -> str:
        """The account that the key belongs to. BLOCKED `no_account` if none is named.

        See docs/fireworks.md §7.
        """
        answer = self._ask(Call.VERIFY, "GET", "/verifyApiKey")
        account = answer.headers.get("x-fireworks-account-id", "").strip()
        echoed = tells(account, *secrets_of(answer.request))
        if echoed or not ACCOUNT_ID.fullmatch(account):
            if answer.content:
                json_object(Call.VERIFY, answer)  # whoever says just "OK" may be any
            message = "the service does not say which account the key belongs to"
            raise RemoteError(
                Verdict.BLOCKED, Call.VERIFY, message, status=200, code=Code.NO_ACCOUNT
            )
        return account

    def owner(self) -> str | None:
        """As `account`, but None from a service that does not say (docs/fireworks.md §7).

        A lost answer, or a key that is refused, says nothing of the kind: it is raised.
        """
        try:
            return self.account()
        except RemoteError as error:
            no_route = error.status in _NO_SUCH_ROUTE and error.verdict is not Verdict.BLOCKED
            if error.code is Code.NO_ACCOUNT or no_route:
                return None
            raise

    def create(self, account: str, body: Mapping[str, Any]) -> RemoteModel:
        """Create the model (docs/fireworks.md §1); returns it as the answer shows it.

        Raises RemoteError (EXISTS) if the name is taken.
        """
        path = f"/v1/accounts/{quote(account, safe='')}/models"
        answer = self._ask(Call.CREATE, "POST", path, body)
        return _read_model(Call.CREATE, str(body.get("modelId")), answer)

    def get(self, account: str, model_id: str) -> RemoteModel:
        """The model as it is now (docs/fireworks.md §4).

        Raises RemoteError (ABSENT) if there is none.
        """
        answer = self._ask(Call.GET, "GET", _model(account, model_id))
        return _read_model(Call.GET, model_id, answer)

    def models(self, account: str) -> ModelList:
        """The models of the account, page by page (docs/fireworks.md §4)."""
        found: list[ListedModel] = []
        token, ends_s = "", self._clock.boot_s() + _LIST_S
        for _ in range(_MAX_PAGES):
            page, token = self._page_of_models(account, token)
            found += page
            if not token or len(found) >= MAX_MODELS or self._clock.boot_s() >= ends_s:
                break
        return ModelList(tuple(found[:MAX_MODELS]), not token and len(found) <= MAX_MODELS)

    def _page_of_models(self, account: str, token: str) -> tuple[list[ListedModel], str]:
        """Its models, and the token of the next page: empty on the last one."""
        query = {"pageSize": _PAGE_SIZE, **({"pageToken": token} if token else {})}
        path = f"/v1/accounts/{quote(account, safe='')}/models?{urlencode(query)}"
        answer = self._ask(Call.GET, "GET", path)
        found = json_object(Call.GET, answer)
        listed = found.get("models")
        page = map(_object, listed[: MAX_MODELS + 1] if isinstance(listed, list) else ())
        following = _string(found.get("nextPageToken"))
        if len(following) > _MAX_TOKEN_CHARS or not following.isprintable():
            raise malformed(Call.GET, "gives a page token that no address holds")
        return [_listed(one, answer) for one in page], following

    def upload_urls(
        self, account: str, model_id: str, sizes: Mapping[str, int], *, resumable: bool
    ) -> dict[str, UploadUrl]:
        """One URL for every file of ``sizes`` (name → bytes): always the whole map.

        See docs/fireworks.md §0.3.

        Raises JobRefused if the service wants a bucket of the customer's own or sends URLs that
        cannot be used, and RemoteError (FAILED, `urls_mismatch`) if names and URLs do not match.
        """
        path = f"{_model(account, model_id)}:getUploadEndpoint"
        body = {"filenameToSize": dict(sizes), "enableResumableUpload": resumable}
        found = json_object(Call.URLS, self._ask(Call.URLS, "POST", path, body))
        if found.get("filenameToUnsignedUris"):
            message = "the service wants this model in a bucket of your own (BYOC)"
            raise JobRefused(message, code=Code.BYOC_UNSUPPORTED)
        pairs = pair(sizes, _strings(found.get("filenameToSignedUrls")))
        urls = {name: self._usable(url) for name, url in pairs.items()}
        _check_separate(urls)
        return urls

    def _usable(self, url: str) -> UploadUrl:
        if not trusted(url, plain=is_plain(self._base)):
            message = "the service sent an upload URL that is not an https:// address"
            raise JobRefused(message, code=Code.INSECURE_URL)
        return read_url(url)

    def validate(self, account: str, model_id: str) -> tuple[str, ...]:
        """Ask the service to check the files; returns its warnings. May take 600 s.

        See docs/fireworks.md §3.

        It is a GET without a body: with one, Google's front end answers 400. NOT_YET while the
        service is still receiving files.
        """
        path = f"{_model(account, model_id)}:validateUpload"
        answer = self._ask(Call.VALIDATE, "GET", path, answer_s=VALIDATE_S)
        warnings = json_object(Call.VALIDATE, answer).get("warnings")
        words = warnings if isinstance(warnings, list) else ()
        return few_lines(words, lambda text: kept(text, answer))

    def delete(self, account: str, model_id: str) -> None:
        """Delete the model (docs/fireworks.md §4). Raises RemoteError (ABSENT) if there is none."""
        answer = self._ask(Call.DELETE, "DELETE", _model(account, model_id))
        if json_object(Call.DELETE, answer):
            raise malformed(Call.DELETE, "is not that of a deletion")  # which is empty

    def find(self, account: str, model_id: str) -> RemoteModel | None:
        """As `get`, but None if there is no such model."""
        try:
            return self.get(account, model_id)
        except RemoteError as error:
            if error.verdict is Verdict.ABSENT:
                return None
            raise

    def delete_surely(self, account: str, model_id: str) -> None:
        """As `delete`, and see that it is gone: `{}` may be the answer of anything on the way.

        Raises RemoteError (TRANSIENT) also if the service still shows the model.
        """
        self.delete(account, model_id)
        if self.find(account, model_id) is not None:
            raise malformed(Call.DELETE, "says that the model is deleted, but it is still there")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._session.close()

    def _ask(
        self,
        call: Call,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        answer_s: float = ANSWER_S,
    ) -> requests.Response:
        self._gate.check(call)
        url, timeout = self._base + path, (CONNECT_S, answer_s)
        answer = ask(
            call, url, lambda: self._session.request(method, url, json=body, timeout=timeout)
        )
        bind(request_id=request_id(answer) or None)
        if succeeded(answer) and not is_middle_box(call, answer):
            self._gate.passed()
            return answer
        error = refusal(call, answer, self._clock.now())
        if error.verdict is Verdict.THROTTLED:
            self._gate.close(error.retry_after_s)
        else:
            self._gate.passed()
        raise error


def _listed(one: Mapping[str, Any], answer: requests.Response) -> ListedModel:
    keys = ("name", "state", "kind", "createTime")
    name, state, kind, at = (kept(_string(one.get(key)), answer) for key in keys)
    return ListedModel(name.rpartition("/")[2], state, kind, at)


def pair(names: Collection[str], urls: Mapping[str, str]) -> dict[str, str]:
    """Each name's URL: keys match exactly first, else by unique suffix (docs/fireworks.md §2.2).

    Long names are matched first, so that `sub/a.json` is not taken for `a.json`.
    """
    left = dict(urls)
    found = {name: left.pop(name) for name in names if name in left}
    missing = [name for name in names if name not in found]
    alike: dict[str, list[str]] = {}  # by their last part: every name need not see every key
    for key in left:
        alike.setdefault(_last_part(key), []).append(key)
    for name in sorted(missing, key=len, reverse=True):
        ends = alike.get(_last_part(name), ())
        keys = [key for key in ends if key in left and key.endswith(f"/{name}")]
        if len(keys) != 1:
            raise _mismatch(f"gave no separate URL for {name}")
        found[name] = left.pop(keys[0])
    if left:
        raise _mismatch(f"gave URLs for files that were not asked for, like {min(left)}")
    return found


def _check_separate(urls: Mapping[str, UploadUrl]) -> None:
    """Raises RemoteError if two files would be one object: the later would replace the earlier."""
    known: dict[object, str] = {}
    for name, url in urls.items():
        for place in (None if url.is_nameless else url.object_path, url.session_id):
            other = known.setdefault(place, name) if place is not None else name
            if other != name:
                raise _mismatch(f"gave one place for {other} and {name}")


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _mismatch(what: str) -> RemoteError:
    message = f"{Call.URLS}: the service {kept(what)}"
    return RemoteError(Verdict.FAILED, Call.URLS, message, status=200, code=Code.URLS_MISMATCH)


def _strings(value: object) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(url, str) for url in value.values()):
        return value
    raise malformed(Call.URLS, "contains no map of upload URLs")


def _model(account: str, model_id: str) -> str:
    return f"/v1/accounts/{quote(account, safe='')}/models/{quote(model_id, safe='')}"


def _read_model(call: Call, model_id: str, answer: requests.Response) -> RemoteModel:
    found = json_object(call, answer)
    if not _string(found.get("name")).endswith(f"/models/{model_id}"):
        raise malformed(call, "is not about the model")  # a gateway's own may be JSON, too
    status, base = (_object(found.get(name)) for name in ("status", "baseModelDetails"))
    return RemoteModel(
        state=kept(_string(found.get("state")), answer),
        status_code=grpc_name(status.get("code")),
        status_message=kept(_string(status.get("message")), answer),
        kind=kept(_string(found.get("kind")), answer),
        huggingface_files=_names(base.get("huggingfaceFiles"), answer),
        encryption_state=kept(_string(found.get("encryptionState")), answer),
        default_precision=kept(_string(base.get("defaultPrecision")), answer),
        supports_lora=lora if isinstance(lora := found.get("supportsLora"), bool) else None,
        created_at=_time(found.get("createTime")),
        shown=found,
    )


def _time(value: object) -> datetime | None:
    """None for what is no moment with a zone, or none that a job table can keep."""
    try:
        at = datetime.fromisoformat(_string(value))
    except ValueError:
        return None
    return at if at.tzinfo is not None and _FIRST_YEAR <= at.year <= _LAST_YEAR else None


def _names(value: object, answer: requests.Response) -> tuple[str, ...] | None:
    """As they came, for they are compared with ours; None if one repeats a secret."""
    whole = map(str, value[: _MOST_NAMES + 1]) if isinstance(value, list) else ()
    names = tuple(x if len(x) <= _MAX_NAME_CHARS else _LONGER_NAME for x in whole)
    secrets = secrets_of(answer.request)
    portions = ("\n".join(names[at : at + _PORTION]) for at in range(0, len(names), _PORTION))
    return None if any(tells(portion, *secrets) for portion in portions) else names or None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bearer(key: Callable[[], ApiKey]) -> Auth:
    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {key().reveal()}"
        return request

    return authorize
