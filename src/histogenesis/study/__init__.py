"""Looking at what a run has made: the viewer, and reader studies, which show it to people and count what they say."""

from histogenesis.study.scores import weighted_mae

__all__ = ["weighted_mae"]
