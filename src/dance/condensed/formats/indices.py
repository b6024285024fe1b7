"""The rows of the training set of which a selection consists, a number a line, in its order.

``dance condense --source.indices FILE`` takes such a file.
"""

from __future__ import annotations

from pathlib import Path

from dance.condensed.formats import FORMATS, Content, Format
from dance.condensed.origin import reading
from dance.core.errors import ConfigError
from dance.core.progress import log


def write_indices(content: Content, path: Path) -> None:
    """Write the rows.

    Raises:
        ConfigError: the images are not copies of training images.
    """
    rows = content.source.source_rows
    if rows is None:
        raise ConfigError(
            "indices are rows of the training set, which selections have (random, herding, "
            "k_center, k_means): got a set whose images are no copies of training images; export "
            "these with --to npz"
        )
    source = reading(content.source)
    if chosen := source.get("indices"):
        log(f"they count among the training images that {chosen} had chosen (--source.indices)")
    if chosen := source.get("classes"):
        log(f"they count among the training images of the classes {', '.join(chosen)}")
    path.write_text("".join(f"{row}\n" for row in rows.tolist()), encoding="utf-8")


FORMATS.register("indices")(
    Format(
        write_indices,
        is_folder=False,
        eight_bit=False,
        numbers=False,
        stored=True,
        about="the rows of the training images that they copy",
    )
)
