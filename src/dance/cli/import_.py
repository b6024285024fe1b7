"""Read a set that another program has condensed, so that it can be scored like one of our own.

FILE... is what the program wrote; nothing in it is run. The format is recognised from the content;
what neither it nor the data set settles is asked for. docs/interop.md lists the formats.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance.cli.options import Parser, add_json
from dance.cli.output import print_json
from dance.condensed import imports
from dance.core.errors import ConfigError
from dance.core.progress import log
from dance.data import DataConfig
from dance.engine.rundir import RunDirectory
from dance.evaluation import PROTOCOLS


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance import``."""
    parser.add_argument(
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="what the other program wrote: a .pt, .pkl or .npz file, several of them (images, "
        "labels, learning rate), parquet, or a folder of class folders",
    )
    parser.add_argument(
        "--data",
        metavar="DATA",
        required=True,
        help="name or path of the images of which the set was made, which settle classes and "
        "normalisation (required)",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder to write (required)"
    )
    names = imports.IMPORTS.names()
    for option, metavar, candidates, text in (
        ("format", "{" + ",".join(names) + "}", names, "format of the files (default: recognised)"),
        ("protocol", "NAME", PROTOCOLS.names(), "protocol by which the set is scored unless "
         "another one is asked for (default: that of the program)"),
        ("statistics", "{shared,own}", ["shared", "own"], "mean and standard deviation with which "
         "the program standardised CIFAR-100: those of CIFAR-10, or its own (default: as the "
         "program does)"),
        ("whitening", "{none,zca,zca_standardised}", ["none", "zca", "zca_standardised"],
         "whether the networks of the program saw whitened images (default: asked for if it may)"),
        ("space", "{unit,normalized}", ["unit", "normalized"], "what the pixels are: images in "
         "[0, 1], or network input (default: that of the format)"),
        ("data-root", "DIR", [], "folder that contains named data sets (default: "
         "$DANCE_DATA_ROOT)"),
    ):  # fmt: skip
        action = parser.add_argument(f"--{option}", metavar=metavar, help=text)
        action.candidates = candidates  # type: ignore[attr-defined]
    for option, text in (
        ("factor", "cells along each side of a stored image, 1 for none (default: that of the "
         "program, if it has one)"),
        ("experiment", "which set of a file with several, from 1 (default: the last)"),
    ):  # fmt: skip
        parser.add_argument(f"--{option}", metavar="N", type=int, help=text)
    parser.add_argument(
        "--classes",
        metavar="NAME",
        nargs="+",
        default=(),
        help="names of the classes of --data that the set has (default: all)",
    )
    parser.add_argument(
        "--offline", action="store_true", help="do not download the images of --data"
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Import the files and print the path of the set."""
    for option, known in (("statistics", ("shared", "own")), ("space", ("unit", "normalized")),
                          ("whitening", ("none", "zca", "zca_standardised"))):  # fmt: skip
        value = getattr(parsed, option)
        if value is not None and value not in known:
            raise ConfigError(f"--{option} must be one of {', '.join(known)}: got {value!r}")
    if parsed.protocol is not None:
        PROTOCOLS.get(parsed.protocol)
    place = RunDirectory(parsed.output)
    place.check_outside(parsed.data)
    if parsed.output.exists() and (not parsed.output.is_dir() or any(parsed.output.iterdir())):
        raise ConfigError(
            f"--output must be a folder that is empty or does not exist: {parsed.output} is not; "
            "name another one"
        )
    wanted = imports.Wanted(
        data=parsed.data,
        source=DataConfig(
            root=parsed.data_root, offline=parsed.offline, classes=tuple(parsed.classes)
        ),
        format=parsed.format,
        factor=parsed.factor,
        protocol=parsed.protocol,
        statistics=parsed.statistics,
        whitening=parsed.whitening,
        space=parsed.space,
        experiment=parsed.experiment,
    )
    made = imports.import_set(parsed.files, wanted)
    made.save(place.condensed)
    for note in made.provenance["notes"]:
        log(note)
    protocol = made.provenance["config"]["evaluation"]["protocol"]
    log(
        f"{made!r}; format {made.provenance['method']}, protocol {protocol}, factor "
        f"{made.decoder.factor}, pixels {made.space}, {made.normalization.pack()[0]['name']}"
    )
    if parsed.json:
        print_json({"path": place.condensed, **made.provenance})
    else:
        print(place.condensed)
