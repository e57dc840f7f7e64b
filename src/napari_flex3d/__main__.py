"""``python -m napari_flex3d`` is ``flex3d``."""

import sys

from napari_flex3d.cli import main

sys.exit(main())
