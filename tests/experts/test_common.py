from distil.config import Config, validate
from distil.experts.common import identity
from distil.experts.config import ExpertConfig


class Holder(Config):
    expert: ExpertConfig


def test_the_cost_of_an_expert_is_not_part_of_its_identity() -> None:
    def of(**keys: object) -> dict[str, object]:
        return identity(validate(Holder, {"expert": keys}).expert)

    assert of(kind="sb3", path="a.zip", paid=True) == of(kind="sb3", path="a.zip") != of(kind="sb3", path="b.zip")
    members = [{"a": {"kind": "random", "paid": paid}} for paid in (True, False)]
    assert of(kind="several", members=members[0]) == of(kind="several", members=members[1])
    assert "paid" not in str(of(kind="several", members=members[0]))
