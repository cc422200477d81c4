from distil.learners import Learner, LearnerConfig, make_learner
from distil.learners.local import LocalLearner


def test_no_learners_means_this_process(bed):
    learner: Learner = bed.learner()
    assert isinstance(learner, LocalLearner)
    learner.close()
    assert LearnerConfig().num_learners == 0
    assert callable(make_learner)
