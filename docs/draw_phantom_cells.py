"""Write ``docs/phantom_cells.png``: parasites that the demo's resnet18 found, in a palette of 256 colours.

python docs/draw_phantom_cells.py [FOLDER]

FOLDER holds the versions of ``resnet18.true_positives_heatmap``, of which the newest counts; without it, the demo's.
"""

import sys
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
DEMO = DOCS.parent / "data" / "demo" / "08_reporting" / "resnet18" / "true_positives_heatmap.png"
SIZE = (1200, 660)  # px, enough for the width of a page


def main() -> None:
    """Find the newest figure, and write it smaller and with fewer colours, so that the page loads faster."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO
    figures = sorted(folder.glob("*/true_positives_heatmap.png"))
    if not figures:
        sys.exit(f"{folder} holds no true_positives_heatmap.png; run: kedro run --env demo")
    with Image.open(figures[-1]) as figure:
        figure.convert("RGB").resize(SIZE).quantize(256).save(DOCS / "phantom_cells.png", optimize=True)


if __name__ == "__main__":
    main()
