"""``dance``: finds the verb, runs it, and turns every outcome into an exit code.

0 done, 1 failed (a fault of ours), 2 wrong use, 130 interrupted. Nothing heavy is imported here:
the verb's own module is, once it is known.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from dance.core.errors import ConfigError, DanceError, PeerError, nearest
from dance.core.launch import launched
from dance.core.process import prepare

VERBS = {
    "condense": "condense a data set, score the result and write its report",
    "bank": "experts and mean features in one file, to condense without the images",
    "experts": "train the networks that condensing needs, to share them over runs",
    "evaluate": "score a run or a condensed file again",
    "report": "write the page of a run again",
    "export": "write a condensed set as parquet, class folders, npz or pt",
    "estimate": "time, memory and disk of a run, from a few measured steps",
    "bench": "speed, memory and accuracy on this machine, against each other",
    "list": "methods, recipes, datasets, networks, protocols",
    "show": "one of these in full; a recipe as YAML for --config",
}
SHELLS = ("bash", "zsh")

_TRACEBACK = "DANCE_TRACEBACK"
_OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Faults of the place, not of the program: full, over quota, read-only, forbidden."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words after ``dance``; None: those of this process.

    Returns:
        The exit code.
    """
    prepare()
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse, after --help
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return _say("stopped; repeat the command to go on from what is finished", 130)
    except BrokenPipeError:  # the reader of a pipe went away; nothing is wrong
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get(_TRACEBACK):
            raise
        return _explain(error)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    first, *rest = words
    if first == "--version":
        from dance import __version__

        print(f"dance {__version__}")
        return 0
    if first == "--print-completion":
        from dance.cli.completion import script

        print(script(rest[0] if rest else "", SHELLS, VERBS))
        return 0
    if first not in VERBS:
        kind = "option" if first.startswith("-") else "command"
        raise ConfigError(f"unknown {kind} {first!r}{nearest(first, VERBS)}; see dance --help")
    module = importlib.import_module(f"dance.cli.{first}")
    from dance.cli.options import Parser

    parser = Parser(f"dance {first}", module.__doc__)
    module.add_arguments(parser, rest)
    parsed = parser.parse(rest)
    parsed.command = ("dance", *words)
    module.run(parsed)
    return 0


def _explain(error: Exception) -> int:
    """One message for an exception, and the exit code that fits."""
    if isinstance(error, PeerError):
        return _say(str(error), 1)
    if isinstance(error, DanceError):
        return _say(str(error), 2)
    if isinstance(error, OSError) and error.errno in _OUTSIDE:
        return _say(f"cannot use {error.filename or 'a file'}: {error.strerror}", 2)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _say("out of memory; try a smaller --chunk (classes at once), such as --chunk 1", 1)
    return _say(
        f"failed, which is a fault of dance: {type(error).__name__}: {error}\n"
        f"{_TRACEBACK}=1 before the command shows where",
        1,
    )


def _say(message: str, code: int) -> int:
    if _speaks():
        print(f"dance: {message}", file=sys.stderr)
    return code


def _speaks() -> bool:
    """Whether it is this process, of several, that tells the user."""
    world = sys.modules.get("dance.core.world")  # imports torch: not for a mistake in an option
    if world is not None and world.joined():
        return bool(world.join().speaks())
    try:
        launch = launched()
    except ConfigError:
        return True
    return launch is None or launch.rank == 0


def _overview() -> str:
    lines = [
        "usage: dance COMMAND ...",
        "",
        "A large labelled image set becomes a very small one that trains as well.",
        "",
        *(f"  {verb:<10}{text}" for verb, text in VERBS.items()),
        "",
        "  dance COMMAND --help      options of a command",
        "  dance --version           version",
        f"  dance --print-completion {'|'.join(SHELLS)}",
        "                            a script for tab completion; for bash:",
        '                            eval "$(dance --print-completion bash)"',
        "",
        "First steps:  dance condense digits --config quick",
        "              dance condense FOLDER --ipc 10 --size 32",
    ]
    return "\n".join(lines)
