"""The report's section on readers: what their answers say stands in it, and a file that was left out is named."""

import sys
from pathlib import Path

from histogenesis.report.build import build_report
from histogenesis.study.analyse import analyse_files

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "study"))
from made_up_readers import answers_by, save, save_key, slides_key


def test_what_readers_say_stands_in_the_report(made_up_run):
    key, folder = slides_key(8), made_up_run / "reading/harb"
    sure = {"real": "1", "generated": "6"}
    for code in "abc":
        save(made_up_run / "answers", key, code, answers_by(key, lambda row, n: sure[row["truth"]]))
    (made_up_run / "answers/answers-d.json").write_text("{")
    analyse_files(save_key(folder, key), (made_up_run / "answers").glob("*.json"), folder / "analysis")
    build_report(made_up_run, made_up_run / "report.html")
    page = (made_up_run / "report.html").read_text()
    assert "What readers say" in page and "answers-d.json: is cut off" in page
    assert "3 readers right in 48 of 48 answers (1 to 1): they tell them apart" in page
    assert "what pathologists say" not in page, "it is not missing any more"
    assert "reading/harb/analysis/readers.csv" in page


def test_without_readers_there_is_no_section(made_up_run):
    build_report(made_up_run, made_up_run / "report.html")
    page = (made_up_run / "report.html").read_text()
    assert "What readers say" not in page and "what pathologists say" in page
