"""Equal treatment: what real patches went through, generated ones go through too, before anything is measured of either.

Real patches come out of a slide file that was JPEG; generated ones do not. So all of them, the real ones too, pass the codec of
the real slides once, patch by patch: what compression alone does is on both sides then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.sensitivity import jpeg
from histogenesis.recipe import Evaluation
from histogenesis.slides.codec import Codec, codec_of_slide


def codec_of_slides(records: str | Path | None, run_dir: str | Path | None, slides) -> tuple[Codec | None, str]:
    """The codec that most of the named slides were written with, and how it was found, in words."""
    if records is None:
        return None, "no codec: the patches come with no slides whose compression could be read"
    from histogenesis.slides.table import open_record

    found = []
    for slide in sorted(set(map(str, slides))):
        record = Path(records) / f"{slide}.json"
        try:
            with open_record(record, run_dir) as opened:
                found.append(codec_of_slide(opened.path))
        except (BadInput, OSError):
            continue
    known = Counter(codec for codec in found if codec)
    if not known:
        return None, f"no codec: the slides are not JPEG, or do not say so ({len(found)} looked at)"
    codec, many = min(known.items(), key=lambda item: (-item[1], item[0].quality))
    more = "" if many == len(found) else f"; {len(found) - many} of {len(found)} slides have another"
    return codec, f"{codec}, as the real slides' tiles say{more}"


def treated(sets: Sets, options: Evaluation, records=None, run_dir=None) -> Sets:
    """All three sets through the codec that `evaluation.codec` asks for; sets.codec and sets.treatment say which."""
    if options.codec == "none":
        return replace(sets, treatment="patches are compared as they are: no codec was asked for")
    if options.codec == "slides":
        real = np.concatenate([sets.train.slide, sets.held_out.slide])
        codec, how = codec_of_slides(records, run_dir, real)
    else:
        codec = Codec(options.codec.quality, options.codec.subsampling)
        how = f"{codec}, as the recipe says"
    if codec is None:
        return replace(sets, treatment=how)
    through = [replace(s, images=jpeg(s.images, None, codec.quality, codec.subsampling)) for s in sets]
    train, held_out, generated = through
    return Sets(train, held_out, generated, sets.note, codec, f"real and generated patches went through {how}")
