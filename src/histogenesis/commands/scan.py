"""Look into each slide of a folder or a slide table: size, mpp, maker, pyramid, and what keeps it from being used."""

import argparse
from pathlib import Path

EXAMPLES = """\
  histogenesis scan path/to/slides            # a folder, with all folders in it
  histogenesis scan slides.tsv --root /slides # a slide table, its paths relative to /slides
  histogenesis scan path/to/slides --out scan.tsv"""

# What OpenSlide opens, by the ends of file names; a .mrxs has a folder of its name beside it.
SUFFIXES = {".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".dcm", ".czi"}
COLUMNS = ["slide", "width_px", "height_px", "mpp", "field_mm", "coarsest_mpp", "vendor", "megabytes", "problem"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slides", type=Path, help="a folder of slides, or a slide table (.tsv)")
    parser.add_argument("--root", default=".", help="paths of a table are relative to this")
    parser.add_argument("--out", type=Path, help="also as a table, tab-separated")


def run(args: argparse.Namespace) -> None:
    rows = [scanned(*slide) for slide in slides_of(args.slides, args.root)]
    table = [COLUMNS, *([str(row[column]) for column in COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    bad = [row for row in rows if row["problem"]]
    mpps = sorted(row["mpp"] for row in rows if row["mpp"] != "")
    span = f", {mpps[0]:g} to {mpps[-1]:g} mpp" if mpps else ""
    print(
        f"{len(rows)} slide(s), {sum(row['megabytes'] for row in rows):.0f} MB{span}; {len(bad)} cannot be used as they are"
    )
    if args.out:
        args.out.write_text("".join("\t".join(cells) + "\n" for cells in table))


def slides_of(where: Path, root: str = ".") -> list[tuple[str, Path, float | None]]:
    """Name, file and stated mpp of each slide."""
    from histogenesis.core.errors import BadInput

    if where.is_dir():
        found = found_in(where)
        if not found:
            raise BadInput(f"{where}: holds no slides ({', '.join(sorted(SUFFIXES))}): name another folder")
        return [(path.stem, path, None) for path in found]
    import os

    from histogenesis.slides.table import read_table, slide_path

    os.environ.setdefault("HISTOGENESIS_SLIDE_ROOT", root)
    return [(row.slide, slide_path(row.path), row.mpp) for row in read_table(where)]


def found_in(folder: Path) -> list[Path]:
    """The slides in a folder, at any depth, in the order of their paths; none within the folder of a .mrxs."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    data = {path.with_suffix("") for path in files if path.suffix.lower() == ".mrxs"}
    return [path for path in files if not data & set(path.parents) and not path.name.startswith(".")]


def scanned(name: str, path: Path, mpp: float | None = None) -> dict:
    """What is known of a slide without reading its pixels; `problem` in one line."""
    from histogenesis.core.errors import BadInput
    from histogenesis.slides.check import check_tiff_complete
    from histogenesis.slides.read import check_present, open_slide

    row = dict.fromkeys(COLUMNS, "") | {"slide": name, "megabytes": 0}
    try:
        check_present(path)
        row["megabytes"] = round(path.stat().st_size / 1e6, 1)
        check_tiff_complete(path)
        with open_slide(path, mpp) as slide:
            field = f"{slide.width_px * slide.mpp / 1e3:.1f} x {slide.height_px * slide.mpp / 1e3:.1f}"
            row |= {"width_px": slide.width_px, "height_px": slide.height_px, "mpp": round(slide.mpp, 4)}
            row |= {"field_mm": field, "coarsest_mpp": round(slide.coarsest_mpp, 2), "vendor": slide.vendor}
    except (BadInput, OSError) as error:
        row["problem"] = str(error).replace(str(path), path.name)
    return row
