"""``python -m dance``: the same as the ``dance`` command."""

import sys

from dance.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
