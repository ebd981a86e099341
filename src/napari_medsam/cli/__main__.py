"""`python -m napari_medsam.cli`."""

import sys

from napari_medsam.cli.program import main

sys.exit(main())
