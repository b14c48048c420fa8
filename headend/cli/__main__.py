"""``python -m headend.cli``: the same as the installed command ``headend``."""

import sys

from headend.cli import main

sys.exit(main())
