"""Join what readers sent back with the key of their study: analysis.json, answers.csv, readers.csv, analysis.png."""

from histogenesis.steps.analyse_reading import analyse_reading
from histogenesis.steps.command import run

if __name__ == "__main__":
    run(analyse_reading)
