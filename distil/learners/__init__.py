"""Learners step an objective on a snapshot: in this process, or on one Ray Train worker group that lives as long as the run."""

from distil.learners.base import Learner
from distil.learners.config import LearnerConfig
from distil.learners.factory import check_device, make_learner

__all__ = ["Learner", "LearnerConfig", "check_device", "make_learner"]
