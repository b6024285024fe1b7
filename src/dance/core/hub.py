"""The Hugging Face hub: where it is, whether it answers, and one message for each failure.

Nothing is imported from ``huggingface_hub`` (extra ``[hf]``) before a function is called.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dance.core.errors import DanceError, DataError

HUB = "https://huggingface.co"
SECONDS = 4
"""Time in which a connection to the hub must open, so that a missing network is soon said."""
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""The name of a repository, with its owner."""
_CLIENTS = ("httpx", "requests", "urllib3")
"""Modules of the clients of HTTP that the library has had."""
_MOST_CHARACTERS = 200
"""Characters of an answer of the hub that a message shows."""
_LOG_IN = "set HF_TOKEN, or log in with: hf auth login"
_ANSWERS = {
    400: ("take the request", "correct what it names"),
    401: (
        "know who asks",
        f"the name is wrong, or it is private, and the token is missing or wrong: {_LOG_IN}",
    ),
    403: ("allow this", f"use a token that may do it, or accept the terms on its page: {_LOG_IN}"),
    404: ("have it", f"correct the name or the revision; if it is private, {_LOG_IN}"),
    409: ("take the change", "another change came first: repeat the command"),
    429: ("have time", "too many requests were made: wait some minutes, and repeat the command"),
}
"""By status: what the hub must do and does not, and what the user can do."""


def endpoint() -> str:
    """Address of the hub: ``$HF_ENDPOINT``, or that of huggingface.co; without a slash at its end.

    It is read at every call; ``huggingface_hub`` reads it only when it is imported.
    """
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids connections."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    return bool(constants.HF_HUB_OFFLINE)


def place() -> tuple[str, int]:
    """Host and port to which a request connects first: those of the hub, or of a proxy.

    Raises:
        DataError: the environment has no usable address of it.
    """
    address = endpoint()
    try:
        hub = urlsplit(address)
        proxies = getproxies()
        proxy = proxies.get(hub.scheme) or proxies.get("all")
        if proxy and not proxy_bypass(hub.hostname or ""):
            address = proxy
            hub = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        port = hub.port or {"https": 443, "http": 80}.get(hub.scheme, 1080)
    except ValueError as error:
        raise DataError(
            f"HF_ENDPOINT and the proxies must be addresses: got {address!r}; unset it"
        ) from error
    return hub.hostname or "", port


def reachable(host: str, port: int) -> bool:
    """Whether a connection can be opened soon; the library itself would try for minutes."""
    answers: Queue[bool] = Queue()

    def connect() -> None:
        try:
            socket.create_connection((host, port), SECONDS).close()
            answers.put(True)
        except (OSError, OverflowError, UnicodeError):
            answers.put(False)

    Thread(target=connect, daemon=True).start()  # looking up a name has no limit of its own
    with suppress(Empty):
        return answers.get(timeout=SECONDS)
    return False


@contextmanager
def offline() -> Iterator[None]:
    """Act as if HF_HUB_OFFLINE were set, which the libraries read only when they are imported."""
    config: Any = importlib.import_module("datasets.config")
    constants: Any = importlib.import_module("huggingface_hub.constants")
    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def explained(what: str, asked: str, kind: type[DanceError]) -> Iterator[None]:
    """Turn every failure of ``huggingface_hub`` into one error, without its own messages.

    Args:
        what: is done, such as ``"fetch hf:owner/name"``.
        asked: what the hub was asked for, such as ``"the data set owner/name"``.
        kind: of the error.

    Raises:
        DanceError: of this kind; it says what must hold, what was received and what to do.
    """
    library: Any = importlib.import_module("huggingface_hub.utils")
    logging = library.logging
    level, bars = logging.get_verbosity(), library.are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)
    if not bars:
        library.disable_progress_bars()
    try:
        yield
    except DanceError:
        raise
    except Exception as error:  # the library and its clients raise exceptions of many types
        raise kind(f"cannot {what}: {_reason(error, asked)}") from error
    finally:
        logging.set_verbosity(level)
        if not bars:
            library.enable_progress_bars()


def _reason(error: BaseException, asked: str) -> str:
    """What the hub or the network did, and what to do."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for each in chain:
        status, said = _status(each)
        if status:
            must, advice = _ANSWERS.get(
                status, ("answer without an error", "wait a little, and repeat the command")
            )
            answer = f"got {status}" + (f" ({said})" if said else "")
            return f"{endpoint()} must {must}, asked for {asked}: {answer}; {advice}"
    for each in chain:
        if isinstance(each, ConnectionError) or type(each).__module__.startswith(_CLIENTS):
            said = _line(each) or type(each).__name__
            return f"{endpoint()} must answer: got {said}; check the network and HF_ENDPOINT"
    for each in chain:
        if isinstance(each, OSError) and each.strerror:
            return f"{each.filename}: {each.strerror}; free it, or set HF_HOME to another folder"
    said = "; ".join(f"{type(each).__name__}: {_line(each)}".rstrip(".") for each in chain)
    return f"{endpoint()} must answer as a hub does: {said}; check HF_ENDPOINT"


def _status(error: BaseException) -> tuple[int, str]:
    """Status and words of an answer of the hub; 0 if the error is not about one."""
    response = getattr(error, "response", None)
    if response is None:  # the storage service has errors of its own
        found = re.search(r"HTTP status \w+ error \((\d{3})", str(error))
        return (int(found[1]), "") if found else (0, "")
    said = response.headers.get("X-Error-Message") or getattr(error, "server_message", None) or ""
    return int(response.status_code), _line(said)


def _line(text: object) -> str:
    """Text of the hub as one short line."""
    line = " ".join(str(text).split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…"
