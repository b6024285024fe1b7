"""The list of IDC, DREAM, DANCE and NCFM: [images, labels], which are the stored images.

Images are (n, C, S, S) float32 in [0, 1], labels (n,) int64. The factor stands outside of the file,
as it does in these codes.
"""

from __future__ import annotations

from pathlib import Path

from dance.condensed.formats import FORMATS, Content, Format
from dance.condensed.formats.arrays import save
from dance.core.errors import ConfigError


def write_idc(content: Content, path: Path) -> None:
    """Write the list.

    Raises:
        ConfigError: networks see whitened images, which these codes do not have.
    """
    if content.source.normalization.whitening is not None:
        raise ConfigError(
            "idc holds images that are standardised by channel: got a set whose networks see "
            "whitened images; export it with --to mtt"
        )
    save([content.images.contiguous(), content.labels], path)


FORMATS.register("idc")(
    Format(write_idc, is_folder=False, eight_bit=False, numbers=False, stored=True)
)
