"""Take a picture of a whole page with headless Chromium, as `make picture` does for the README."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

HEIGHT = 8000  # pixels, more than any report is long; what is left empty is cut off
MARGIN = 24
COLOURS = 256  # of the picture's palette, which keeps rare ones: the file goes into git, so it is to be small


def take_picture(page: Path, width: int, chromium: str) -> Image.Image:
    """Return a page's picture at its full height, cut off below the last thing that it shows."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "page.png")
        words = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={folder}/profile", f"--screenshot={shot}",
            f"--window-size={width},{HEIGHT}", page.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            picture = image.convert("RGB")
    paper = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height - 1)))
    shown = ImageChops.difference(picture, paper).getbbox()
    if shown is None:
        raise SystemExit(f"{page} shows nothing.")
    return picture.crop((0, 0, picture.width, min(picture.height, shown[3] + MARGIN)))


def main() -> None:
    """Take the picture that the command line names."""
    parser = argparse.ArgumentParser(description="Take a picture of a whole page with headless Chromium.")
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--chromium", default="chromium")
    chosen = parser.parse_args()
    picture = take_picture(chosen.page, chosen.width, chosen.chromium)
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(chosen.picture, optimize=True)
    print(f"picture: {chosen.picture}, {picture.width} x {picture.height} pixels")


if __name__ == "__main__":
    main()
