"""Make the demo's text, or text like it: the command of lrps.demo.corpus.

python tools/corpus.py --split iid --versions 4 --bytes-per-version 600kB --out data/demo/text
"""

from __future__ import annotations

import sys

from lrps.demo.corpus import main

if __name__ == "__main__":
    sys.exit(main())
