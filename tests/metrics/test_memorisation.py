"""Copies are caught, honest samples are cleared, and the error rate is the promised one."""

import json

import numpy as np
import pytest
from scipy.spatial import cKDTree

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.evaluate_copies import PIECES, overall
from histogenesis.metrics.memorisation.audit import audit, audit_pieces

D = 16


def sets(seed, n_train=400, n=200):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(D, D))
    return rng, *(rng.normal(size=(m, D)) @ mix for m in (n_train, n, n))


def test_overfitted_model_is_caught():
    rng, train, held_out, _ = sets(0)
    copies = train[rng.integers(400, size=200)] + 0.05 * rng.normal(size=(200, D))
    found = audit(train, held_out, copies)
    assert found.verdict == "copies"
    assert found.absolute.fraction == 1
    assert found.absolute.low > 0.98
    assert found.authpct == 0
    assert found.authpct_held_out > 30
    assert found.absolute.p_value < 1e-6
    json.dumps(found.as_dict())


def test_few_copies_are_caught_and_shown():
    """One generated patch in ten is a copy: the audit says so, and its closest pairs are those."""
    rng, train, held_out, generated = sets(1)
    copied = rng.choice(200, 20, replace=False)
    source = rng.choice(400, 20, replace=False)
    generated[copied] = train[source] + 0.02 * rng.normal(size=(20, D))
    found = audit(train, held_out, generated, pairs=20)
    assert found.verdict == "copies"
    assert 0.08 < found.absolute.fraction < 0.16
    assert {(p.generated, p.train) for p in found.closest} == set(zip(copied.tolist(), source.tolist()))
    assert all(p.ratio < 1 for p in found.closest)


def test_false_alarms_are_as_rare_as_promised():
    """150 honest models: at most 1 % "copies" expected (both tests must fire), and p-values no smaller than uniform."""
    verdicts, p_values = [], []
    for seed in range(150):
        _, train, held_out, generated = sets(seed, 150, 120)
        found = audit(train, held_out, generated)
        verdicts.append(found.verdict)
        p_values.append(found.absolute.p_value)
    assert verdicts.count("copies") <= 5  # 1.5 expected at most; P(more than 5) under 1 %
    assert verdicts.count("suspect") <= 8
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean(np.array(p_values) <= 0.5) <= 0.5 + 3 * 0.5 / np.sqrt(150)


def test_expected_share_is_that_of_honest_samples():
    shares = [audit(*sets(seed, 200, 200)[1:]).absolute for seed in range(50)]
    assert np.mean([s.fraction for s in shares]) == pytest.approx(shares[0].expected, abs=0.006)


def test_plain_background_is_no_copy():
    """Many generated patches near a dense clump of training patches, as empty background is: not "copies"."""
    rng, train, held_out, generated = sets(2)
    train[:100] = 0.05 * rng.normal(size=(100, D))
    held_out[:10] = 0.05 * rng.normal(size=(10, D))
    generated[:100] = 0.05 * rng.normal(size=(100, D))
    assert audit(train, held_out, generated).verdict == "clear"
    held_out[:10] = sets(5)[2][:10]  # the held-out patients have no such background
    found = audit(train, held_out, generated)
    assert found.absolute.p_value < 1e-6 and found.relative.p_value > 0.01
    assert found.verdict == "clear" and "own stain" in found.sentence


def test_near_to_what_lies_alone_is_looked_at():
    """Ten training patches lie alone, and a tenth of the generated ones each by one of these, as far as others are near."""
    rng, train, held_out, generated = sets(2)
    train[:10] = 200 * rng.normal(size=(10, D))
    generated[:20] = train[:10].repeat(2, axis=0) + 5 * rng.normal(size=(20, D))
    found = audit(train, held_out, generated)
    assert found.relative.p_value < 0.01 < found.absolute.p_value
    assert found.verdict == "suspect"


def ratio_without(train, i):
    """Of the distance of a patch to the others over that of its nearest to the rest of them."""
    others = np.delete(train, i, axis=0)
    tree = cKDTree(others)
    distance, nearest = tree.query(train[i])
    return distance / tree.query(others[nearest], k=2)[0][1]


def test_an_honest_model_whose_held_out_patients_are_stained_otherwise_is_cleared_and_a_copier_is_not():
    """Held-out patches lie ten spreads off in one direction, generated ones are drawn as the training patches are: nearer than
    any held-out one by every measure, and as near as training patches are to one another."""
    verdicts, shares = [], []
    for seed in range(60):
        rng, train, held_out, generated = sets(seed, 150, 100)
        held_out[:, 0] += 10 * train[:, 0].std()
        found = audit(train, held_out, generated)
        assert found.absolute.p_value < 1e-6
        verdicts.append(found.verdict)
        shares.append(found.relative.fraction)
        assert found.relative.threshold == pytest.approx(min(ratio_without(train, i) for i in range(150)))
        copied = rng.choice(100, 10, replace=False)
        generated[copied] = train[copied] + 0.02 * rng.normal(size=(10, D))
        assert audit(train, held_out, generated).verdict == "copies"
    assert verdicts.count("clear") >= 57  # 0.6 false alarms expected; P(more than 3) under 1 %
    assert np.mean(shares) == pytest.approx(1 / 151, abs=0.01)


def test_each_view_is_one_more_chance_for_the_training_patches_that_are_left_out_too():
    """Eight views of each patch, half of which is the patch's own, of honest patches beside held-out ones that are far off."""
    alike, one = [], []
    for seed in range(40):
        rng, train, held_out, generated = sets(seed, 150, 100)
        mix = np.linalg.cholesky(np.cov(train.T)).T
        turned = [np.sqrt(0.5) * (x + rng.normal(size=(8, *x.shape)) @ mix) for x in (train, held_out, generated)]
        turned[1][..., 0] += 10 * train[:, 0].std()
        alike.append(audit(train, *turned[1:], left_out=(np.arange(150), turned[0])).verdict)
        one.append(audit(train, *turned[1:]).verdict)
    assert alike.count("clear") >= 37  # 0.4 false alarms expected; P(more than 3) under 0.1 %
    assert one.count("copies") > 10


def test_turned_copies_are_found_by_views():
    rng, train, held_out, generated = sets(3)
    turned = train[:200] @ np.linalg.qr(rng.normal(size=(D, D)))[0]  # what an encoder makes of a mirrored copy
    assert audit(train, held_out, turned).verdict != "copies"
    views = np.stack([turned, train[:200] + 0.01])
    assert audit(train, np.stack([held_out, generated]), views).verdict == "copies"


def test_too_few_to_say():
    _, train, held_out, generated = sets(4, 100, 20)
    found = audit(train, held_out[:20], generated[:20], percentile=20, alpha=1e-12)
    assert found.verdict == "not measured"
    with pytest.raises(BadInput, match="at least 20"):
        audit(train, held_out[:5], generated)
    with pytest.raises(BadInput, match="one encoder"):
        audit(train, held_out[:, :3], generated)


def test_turned_copies_in_the_training_set_do_not_hide_a_copier():
    """Each training patch is there eight times: its nearest other must be another patch, or nothing were ever "too close"."""
    rng, train, held_out, _ = sets(5, 60)
    eight = np.repeat(train, 8, axis=0) + 1e-4 * rng.normal(size=(480, D))
    copies = train[rng.integers(60, size=200)] + 0.02 * rng.normal(size=(200, D))
    assert audit(eight, held_out, copies).authpct == 100
    found = audit(eight, held_out, copies, train_origin=np.repeat(np.arange(60), 8))
    assert found.authpct == 0
    assert found.verdict == "copies"


def test_an_alarm_of_any_audit_leads_and_only_the_search_of_all_patches_clears():
    def one(verdict):
        return {"verdict": verdict, "sentence": verdict}

    assert overall({"a": one("copies"), PIECES: one("clear")})["verdict"] == "copies"
    assert overall({"a": one("suspect"), "b": one("clear"), PIECES: one("clear")})["encoder"] == "a"
    assert overall({"a": one("clear"), PIECES: one("not measured")})["verdict"] == "not measured"
    assert overall({"a": one("not measured"), PIECES: one("clear")})["verdict"] == "clear"


def test_what_was_not_searched_or_would_not_be_found_is_never_clear():
    rng = np.random.default_rng(0)
    honest, copies = rng.gumbel(-4, 0.4, (2, 150)), np.full(40, 30.0)
    part = audit_pieces(*honest, 350, 400_000, planted=copies)
    assert part["verdict"] == "not measured" and "Only 350 of 400,000" in part["sentence"]
    blind = audit_pieces(*honest, 300, 300, planted=np.full(40, -9.0))
    assert blind["verdict"] == "not measured" and blind["power"]["found"] < 0.2
    assert audit_pieces(*honest, 300, 300)["verdict"] == "not measured"
    clear = audit_pieces(*honest, 300, 300, planted=copies)
    assert clear["verdict"] == "clear" and "found with 100 %" in clear["sentence"]
