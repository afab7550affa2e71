"""``python -m host_tools`` is ``farside``."""

import sys

from .cli import main

sys.exit(main())
