"""Gather the evaluations of a study's combinations into one table with intervals over seeds, a picture, and the winner."""

import argparse
import json
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.evaluate import write_json
from histogenesis.evaluation.study_table import choose_winner, study_table, write_study
from histogenesis.recipe import Cell, Winner
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluation", type=Path, required=True, help="folder of {samples}/metrics.json")
    parser.add_argument("--cells", type=section_text, required=True, help="the study's combinations, as a JSON list")
    parser.add_argument("--winner", type=section_text, help="the recipe's section study.winner, as JSON")
    parser.add_argument(
        "--models", type=section_text, default="{}", help="the sections of the combinations' models, as JSON"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    args = parser.parse_args()
    cells = [Cell.model_validate(cell) for cell in json.loads(args.cells)]
    try:
        rows = study_table(cells, args.evaluation)
        write_study(args.out, rows)
        if args.winner:
            winner = choose_winner(rows, cells, json.loads(args.models), Winner.model_validate_json(args.winner))
            write_json(args.out / "winner.json", winner)
            print(f"winner: {winner['combination']} ({winner['judged_by']['metric']} {winner['value']:.4g})")
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
