"""The dictionary of DC, DSA, DM, DataDAM and IDM: one experiment, and no accuracies.

``data`` is [[images, labels]], with images (n, C, S, S) float32 as network input and labels (n,)
int64, and ``accs_all_exps`` is empty. What these codes do not store is lost: class names, the
normalisation, and with ``--stored-images`` the factor.
"""

from __future__ import annotations

from pathlib import Path

from dance.condensed.formats import FORMATS, Content, Format
from dance.condensed.formats.arrays import save


def write_dc(content: Content, path: Path) -> None:
    """Write the dictionary."""
    save({"data": [[content.inputs(), content.labels]], "accs_all_exps": {}}, path)


FORMATS.register("dc")(
    Format(write_dc, is_folder=False, eight_bit=False, numbers=False, space="normalized")
)
