"""Gates: who acts at a step, the policy or the expert, and at which steps the expert is asked."""
