"""The command line, `lrps VERB`."""

import sys

from lrps.cli.early_stop import end_resumably

end_resumably(sys.argv)  # First: what follows takes a second or more on a busy machine.

from lrps.cli.app import app  # noqa: E402
from lrps.cli.entry import main  # noqa: E402

__all__ = ["app", "main"]
