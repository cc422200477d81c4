"""An algorithm: clone a few demonstrations first, and twice as many in each further round."""

from distil.plans import CollectPlan, EvaluatePlan, Round, UpdatePlan


class Doubling:
    """After round i there are `first * 2**i` demonstrations; at `data.episodes` of them the policy is scored, and it ends."""

    def __init__(self, budget, first=1):
        self.budget, self.first = budget, first

    def next_round(self, last):
        """Return the round after the report `last`, or None: a pure function, so that a resumed run takes the same way."""
        if last is not None and last.is_final:
            return None
        index = 0 if last is None else last.index + 1
        before, budget = 0 if last is None else last.spent.demonstrations, self.budget
        total = min(self.first * 2**index, budget.num_demonstrations)
        is_last = total == budget.num_demonstrations
        return Round(
            index=index,
            collect=CollectPlan(num_episodes=total - before, round=index),
            update=UpdatePlan(num_steps=budget.num_steps, round=index, from_scratch=index > 0),
            evaluate=EvaluatePlan(num_episodes=budget.num_evaluation_episodes) if is_last else None,
        )
