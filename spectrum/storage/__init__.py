"""Object storage: a folder of this machine that is kept the same as one of a store, such as S3.

Everything else reads and writes plain files. A store has no appended lines, no locks and no
renamed folders, so a study is not run on it: it is run in a *working copy*, a folder of this
machine, whose state goes to the store as whole, consistent generations. A store that is away for a
while holds nothing up.

``objects``: whole contents by name. ``asking``: what a store that is away costs. ``mirror``: a
folder and its generations. ``lease``: one writer at a time. ``copies``: where the working copy of
an address is. ``following``: a mirror that is pushed beside other work.
"""

from spectrum.storage.asking import OF_COMMAND, Patience
from spectrum.storage.beside import Beside
from spectrum.storage.copies import (
    WorkingCopy,
    address_of,
    copies_in,
    is_address,
    told_place,
    working_copy,
)
from spectrum.storage.following import Following
from spectrum.storage.lease import Lease
from spectrum.storage.mirror import LATEST_NAME, Mirror
from spectrum.storage.objects import ObjectStore

__all__ = [
    "LATEST_NAME",
    "OF_COMMAND",
    "Beside",
    "Following",
    "Lease",
    "Mirror",
    "ObjectStore",
    "Patience",
    "WorkingCopy",
    "address_of",
    "copies_in",
    "is_address",
    "told_place",
    "working_copy",
]
