"""``python -m models``; see ``models.cli``."""

from __future__ import annotations

import sys

from models.cli import main

sys.exit(main())
