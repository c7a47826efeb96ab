"""Look at a run's slides in a browser: deep zoom, two side by side, every level, real slides beside if asked for."""

import argparse
import webbrowser
from pathlib import Path

EXAMPLES = """\
  histogenesis view results/demo                      # serves on this machine alone, until Ctrl-C
  histogenesis view results/demo --real               # real slides too
  histogenesis view results/demo --folder demo-viewer # a folder for any static file server"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="results/{run}")
    parser.add_argument("--real", action="store_true", help="real slides beside the synthetic ones")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--folder", type=Path, help="write a folder with all tiles, and serve nothing")


def run(args: argparse.Namespace) -> None:
    from histogenesis.study.viewer.run import RunImages
    from histogenesis.study.viewer.serve import make_server, write_folder

    images = RunImages(args.run_dir, args.real)
    if args.folder:
        count = write_folder(images, args.folder)
        print(f"{args.folder}/index.html: {len(images.images)} picture(s), {count} tiles")
        return
    with make_server(images, args.port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if not args.no_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
