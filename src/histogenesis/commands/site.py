"""Ask this cluster's SLURM for its partitions and limits, and write a Snakemake profile for it."""

import argparse
from pathlib import Path

EXAMPLES = """\
  histogenesis site --out my_site
  histogenesis site --out my_site --cpu long --gpu a100
  snakemake --profile slurm --workflow-profile my_site --configfile recipe.yaml"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("site"), help="folder of the profile")
    parser.add_argument("--cpu", help="partition of the steps without a GPU; default: chosen from what there is")
    parser.add_argument("--gpu", help="partition of those with one")


def run(args: argparse.Namespace) -> None:
    from histogenesis.provenance.site import write_site

    print(write_site(args.out, args.cpu, args.gpu))
