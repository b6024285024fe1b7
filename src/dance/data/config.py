"""The settings for finding an image set and for preparing its images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dance.core.config import AtLeastOne, Option, configuration


@configuration
class DataConfig:
    """Where to look for an image set, and how to prepare its images."""

    root: Annotated[str | None, Option(short="--data-root", metavar="DIR")] = None
    """Folder that contains named data sets as <root>/<name>/ (none: $DANCE_DATA_ROOT)."""
    size: Annotated[AtLeastOne | None, Field(le=65_536), Option(short="--size")] = None
    """Height and width in pixels to which images are resized and cropped (none: those of the data
    set)."""
    offline: Annotated[bool, Option(short="--offline")] = False
    """Do not download anything (HF_HUB_OFFLINE=1 has the same effect)."""
    skip_bad: Annotated[bool, Option(short="--skip-bad")] = False
    """Leave out images that cannot be used, and list them, instead of stopping at the first one."""
    statistics: Literal["shared", "own"] = "shared"
    """Mean and standard deviation with which a known set is standardised: shared (those of most
    codes of the field; for CIFAR-100 they are those of CIFAR-10), or own (those of the set)."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of every class that is held out for testing if the data set has no test split."""
    label_column: Annotated[str | None, Option(short="--label-column", metavar="NAME")] = None
    """Column, or key of a JSON file, that holds the label of each image (none: the only one that is
    called label, labels, fine_label, class, category or target)."""
    classes: Annotated[tuple[str, ...], Option(short="--classes", whole=True)] = ()
    """Names of the classes that are used (none: all). A name that no class has may be several ones
    with commas between them."""
    indices: Annotated[str | None, Option(metavar="FILE")] = None
    """File with the rows of the training images that are used, counted from 0 among those that are
    left once a test split is held out and --classes applied: text with one number a line, or an
    .npy array (none: all rows)."""
    test_split: Annotated[str | None, Option(short="--test-split", metavar="NAME")] = None
    """Split that serves for testing, by the name of its folder or file (none: test, else the
    validation split)."""
