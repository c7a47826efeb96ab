"""`histogenesis doctor` on a SLURM: a short memory for ended jobs is no fault, as long as accounting knows them."""

import pytest

from histogenesis.commands import doctor

SAID = {"conda": "conda 25.1.0", "sinfo": "cpu (null)\ngpu gpu:a100:4"}


@pytest.mark.parametrize(
    "age, sacct, good, words",
    [
        (300, "", True, None),
        (60, None, True, None),
        (15, "", True, "accounting is asked for states"),
        (15, None, None, "its own log is read"),
    ],
)
def test_a_short_min_job_age_is_said_and_stops_nobody(age, sacct, good, words, monkeypatch):
    said = SAID | {"scontrol": f"MinJobAge               = {age} sec", "sacct": sacct}
    monkeypatch.setattr(doctor, "output", lambda *command: said[command[0]])
    _, partitions, *ages = doctor.cluster()
    assert partitions == (True, "slurm", "partitions cpu, gpu; with GPUs: gpu")
    if words is None:
        assert ages == []
    else:
        ((found, _, text),) = ages
        assert found is good and f"MinJobAge is {age} s" in text and words in text
