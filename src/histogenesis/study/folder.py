"""What readers receive: one page, which holds all pictures or, for whole slides, lies beside their tiles; and the key, apart.

The page opens from a file, from any server, without either once it is loaded; it sends nothing. All files have one time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from histogenesis.core.files import write_json
from histogenesis.recipe.reading import ReaderStudy
from histogenesis.study.compose import Composed
from histogenesis.study.equal import padded
from histogenesis.study.page.render import data_url, deep_facts, page
from histogenesis.study.questions import make_key, rng_of
from histogenesis.study.slide_tiles import DeepSlide

LIBRARY = Path(__file__).parent / "viewer/openseadragon/openseadragon.min.js"
ONE_TIME = 946684800  # 2000-01-01, of every file and folder


def write_study(composed: Composed, section: ReaderStudy, name: str, run: str, out: Path, key_json: Path) -> None:
    """Write the folder `out` (index.html; tiles/ and OpenSeadragon where there are whole slides) and the key."""
    key = make_key(name, run, composed.secret, composed.parts, composed.questions) | {"notes": composed.notes}
    deep = [picture for picture in composed.pictures if isinstance(picture, DeepSlide)]
    files = iter(padded(picture for picture in composed.pictures if not isinstance(picture, DeepSlide)))
    rng = rng_of(composed.secret, "names")
    names = [f"{rng.getrandbits(48):012x}" for _ in deep]
    shown = [
        deep_facts(picture, names[deep.index(picture)]) if isinstance(picture, DeepSlide) else data_url(next(files))
        for picture in composed.pictures
    ]
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    text = page(section, composed, key, shown, LIBRARY.name if deep else "")
    (unfinished / "index.html").write_text(text, encoding="utf-8")
    if deep:
        shutil.copyfile(LIBRARY, unfinished / LIBRARY.name)
        shutil.copyfile(LIBRARY.with_name("LICENSE.txt"), unfinished / "openseadragon-LICENSE.txt")
        write_tiles([(slide, unfinished / "tiles" / folder) for slide, folder in zip(deep, names)])
    for path in sorted(unfinished.rglob("*"), reverse=True):
        os.utime(path, (ONE_TIME, ONE_TIME))
    shutil.rmtree(out, ignore_errors=True)
    unfinished.rename(out)
    write_json(key_json, key)


def write_tiles(slides: Sequence[tuple[DeepSlide, Path]]) -> None:
    """Each slide's tiles as {level}/{x}_{y}.jpg of its folder; those at one place are of one length in all of them."""
    longest: dict[str, int] = {}
    for slide, folder in slides:
        for level, x, y, file in slide.tiles():
            name = f"{level}/{x}_{y}.jpg"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(file)
            longest[name] = max(longest.get(name, 0), len(file))
    for _, folder in slides:
        for name, length in longest.items():
            with open(folder / name, "ab") as tile:
                tile.write(bytes(length - tile.tell()))
