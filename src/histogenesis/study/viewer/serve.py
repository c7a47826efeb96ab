"""The viewer served on loopback, or written as a folder that opens from any static file server."""

from __future__ import annotations

import json
import re
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tqdm import tqdm

from histogenesis.study.viewer.run import RunImages

HERE = Path(__file__).parent
PAGE = {  # address -> file and its kind
    "index.html": (HERE / "index.html", "text/html; charset=utf-8"),
    "viewer.css": (HERE / "viewer.css", "text/css; charset=utf-8"),
    "viewer.js": (HERE / "viewer.js", "text/javascript; charset=utf-8"),
    "openseadragon.min.js": (HERE / "openseadragon/openseadragon.min.js", "text/javascript; charset=utf-8"),
}
FACTS = "facts.js"  # a script and no JSON, so that the folder also opens without a server
TILE = re.compile(r"tiles/([^/]+)/(\d{1,2})/(\d{1,7})_(\d{1,7})\.jpg")
LOCAL = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")


def facts_script(run: RunImages) -> str:
    return f"window.FACTS = {json.dumps(run.facts).replace('</', '<' + chr(92) + '/')};\n"


def make_server(run: RunImages, port: int = 0) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 (port 0: any that is free), not yet started. It knows the run's pictures by name, and no paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if not LOCAL.fullmatch(self.headers.get("Host", "")):  # a page elsewhere that has this address renamed
                return self.send_error(403)
            content, kind = answer(run, self.path.split("?")[0].lstrip("/") or "index.html")
            if content is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def answer(run: RunImages, address: str) -> tuple[bytes | None, str]:
    """What lies at an address, and its kind; None where there is nothing."""
    if address in PAGE:
        path, kind = PAGE[address]
        return path.read_bytes(), kind
    if address == FACTS:
        return facts_script(run).encode(), "text/javascript; charset=utf-8"
    if address.startswith("overlays/") and (path := run.overlays.get(address.removeprefix("overlays/"))):
        return path.read_bytes(), "image/png"
    if (match := TILE.fullmatch(address)) and match[1] in run.images:
        try:
            return run.images[match[1]].tile(*map(int, match.groups()[1:])), "image/jpeg"
        except KeyError:
            pass
    return None, ""


def write_folder(run: RunImages, out: Path) -> int:
    """The page and every tile under `out`, which must not exist or be empty of other things; returns how many tiles."""
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "overlays").mkdir(parents=True)
    for name, (path, _) in PAGE.items():
        shutil.copyfile(path, unfinished / name)
    (unfinished / FACTS).write_text(facts_script(run), encoding="utf-8")
    for name, path in run.overlays.items():
        shutil.copyfile(path, unfinished / "overlays" / name)
    count = 0
    for key, image in tqdm(run.images.items(), desc="viewer", unit="picture"):
        for level in range(image.last + 1):
            folder = unfinished / "tiles" / key / str(level)
            folder.mkdir(parents=True)
            columns, rows = image.grid(level)
            for y in range(rows):
                for x in range(columns):
                    (folder / f"{x}_{y}.jpg").write_bytes(image.tile(level, x, y))
                    count += 1
    if out.exists():
        shutil.rmtree(out)
    unfinished.rename(out)
    return count
