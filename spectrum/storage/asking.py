"""Asking a store until it answers: for how long, what is told meanwhile, and what is no use.

Not here: what is asked (``objects``).
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar
from urllib.parse import urlsplit

from spectrum.errors import StorageError

__all__ = ["OF_COMMAND", "Contact", "Patience", "ask", "contact_of", "endpoint", "reason_of"]

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)

MAX_WAIT_S: Final = 10.0
"""Seconds between two attempts, at most; they begin at half a second and double."""

TOLD_AFTER_S: Final = 2.5
"""Seconds without an answer that a user does not wonder about."""

BRIEF_S: Final = 5.0
"""Who asks for no longer tells himself what became of it."""

HOPELESS: Final = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH"
    r"|INVALID_SIGNATURE|UNRECOGNIZED_CLIENT|EXPIRED_TOKEN|Permission denied"
    r"|Read-only file system|HTTP status 403|Bucket '[^']*' not found",
    re.IGNORECASE,
)
"""What asking again does not mend, in the words of Arrow, which has no classes for it."""

WRONG_PLACE: Final = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
"""The same of a disk."""

ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""The first that is set says where S3 is; Amazon's where none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """For how long a store may be away, in seconds, and the clock by which that is told.

    ``first_s`` counts until it has answered for the first time, None as ``seconds``: a store that
    never did is more likely another one than meant.
    """

    seconds: float = 600.0
    first_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def limit_s(self, *, has_answered: bool) -> float:
        """Return the seconds for which a request is made again."""
        if has_answered or self.first_s is None:
            return self.seconds
        return min(self.first_s, self.seconds)


OF_COMMAND: Final = Patience(first_s=10.0)
"""Of a command that has begun nothing yet, whose user waits."""


@dataclass(slots=True)
class Contact:
    """What this process knows of a store, shared by all who ask it here.

    ``is_away`` is whether it was told that the store does not answer, so that it is told once.
    """

    address: str
    has_answered: bool = False
    is_away: bool = False

    def note_answer(self) -> None:
        """Note that the store answered; tell it where it was told to be away."""
        self.has_answered = True
        if self.is_away:
            self.is_away = False
            logger.warning("%s answers again.", self.address)

    def tell_away(self, reason: str, left_s: float) -> None:
        """Tell that the store does not answer, and for how long it is asked."""
        if not self.is_away:
            self.is_away = True
            logger.warning(
                "%s does not answer (%s). It is asked again for up to %.0f s.",
                self.address,
                reason,
                left_s,
            )


def contact_of(address: str) -> Contact:
    """Return what this process knows of an address's bucket, or of its folder on a disk."""
    scheme, _, rest = address.partition("://")
    bucket = rest.partition("/")[0]
    return _known(f"{scheme}://{bucket}" if bucket else address, endpoint())


@cache
def _known(place: str, _endpoint: str | None) -> Contact:
    return Contact(place)


def ask(call: Callable[[], Answer], fault: str, *, patience: Patience, contact: Contact) -> Answer:
    """Return what a call to a store returns, which is made again where the store is away.

    Parameters
    ----------
    call : may raise OSError; FileNotFoundError is an answer
    fault : address, and what cannot be done there where it does not succeed

    Raises
    ------
    StorageError
        The store refuses, or does not answer within the patience.
    """
    begun_s, wait_s = patience.clock(), 0.5
    limit_s = patience.limit_s(has_answered=contact.has_answered)
    while True:
        try:
            answer = call()
        except (FileNotFoundError, StorageError):
            contact.note_answer()
            raise
        except OSError as err:
            _refuse_hopeless(err, fault)
            passed_s = patience.clock() - begun_s
            if passed_s + wait_s > limit_s:
                raise _given_up(err, fault, limit_s, contact) from err
            if passed_s > TOLD_AFTER_S and limit_s > BRIEF_S:
                contact.tell_away(reason_of(err), limit_s - passed_s)
        else:
            contact.note_answer()
            return answer
        patience.sleep(wait_s)
        wait_s = min(2 * wait_s, MAX_WAIT_S)


def endpoint() -> str | None:
    """Return the URL of the S3 server that the environment names, or None."""
    told = (os.environ.get(name) for name in ENDPOINT_VARIABLES)
    return next(filter(None, told), None)


def reason_of(err: Exception) -> str:
    """Return the words of an error on one line, without what Arrow says twice."""
    return " ".join(str(err).partition("; Details:")[0].split())[:300].rstrip(".")


def _refuse_hopeless(err: OSError, fault: str) -> None:
    reason = reason_of(err)
    if isinstance(err, WRONG_PLACE) or HOPELESS.search(reason):
        raise StorageError(
            f"{fault}: {reason}. Look at the address, and at what this machine's credentials may "
            "do there."
        ) from err


def _given_up(err: OSError, fault: str, limit_s: float, contact: Contact) -> StorageError:
    told = f"{fault}{f' for {limit_s:g} s' if limit_s else ''}"
    if contact.has_answered:
        remedy = "See that the store answers, and go on with the same command."
    else:
        remedy = (
            f"It has not answered once: check the address{_of_endpoint(contact.address)}, this "
            "machine's network, and its credentials. See that the store answers, and give the "
            "same command."
        )
    return StorageError(f"{told}: {reason_of(err)}. {remedy}")


def _of_endpoint(address: str) -> str:
    """Tell where S3 is looked for; without a password that stands in a URL."""
    if not address.startswith("s3://"):
        return ""
    url = endpoint()
    if url is None:
        return ", the endpoint (AWS_ENDPOINT_URL is not set, so it is Amazon's)"
    told = urlsplit(url)
    return f", the endpoint (AWS_ENDPOINT_URL: {told.scheme}://{told.netloc.rpartition('@')[2]})"
