"""Tables of at most 80 columns."""

from __future__ import annotations

from distil.report import Score, score_table, table

EXPERT = Score(name="expert", mean=262.3, low=251.0, high=270.0, normalised=1.0)
RANDOM = Score(name="random", mean=-188.2, low=-210.0, high=-170.0, normalised=0.0)
CLONE = Score(name="BC, 200 episodes", mean=251.04, low=231.0, high=271.0, normalised=0.5, num_transitions=42_600)


def test_score_table_reads_well() -> None:
    out = score_table([RANDOM, EXPERT, CLONE], "LunarLander-v3")
    lines = out.splitlines()
    assert lines[0] == "LunarLander-v3"
    assert "seconds" not in out  # nobody measured them
    assert lines[-1].split() == ["BC,", "200", "episodes", "251.0", "231.0", "to", "271.0", "0.500", "42,600"]
    assert "\N{EN DASH}" in lines[-2]  # the expert has no transitions


def test_scores_of_several_runs_show_their_number_and_the_worst_one() -> None:
    out = score_table([Score(name="BC", mean=5.0, low=None, high=None, runs=(7.0, 3.0)), EXPERT])
    assert "worst" in out
    assert [line.split()[1] for line in out.splitlines()[-2:]] == ["2", "\N{EN DASH}"]
    assert [line.split()[-2] for line in out.splitlines()[-2:]] == ["3.0", "\N{EN DASH}"]  # before the normalised score


def test_a_table_takes_any_columns() -> None:
    out = table([{"recipe": "a[b]", "loss": 0.123456}, {"recipe": "c", "loss": None}])
    assert out.split() == ["recipe", "loss", *out.split()[2:]]
    assert "a[b]" in out
    assert "0.1235" in out
    assert table([]) == ""


def test_a_score_of_one_episode_has_no_interval() -> None:
    one = Score(name="BC, 2 episodes", mean=12.0, low=None, high=None, num_demonstrations=2)
    assert "\N{EN DASH}" in next(line for line in score_table([one, EXPERT]).splitlines() if "BC" in line)


def test_a_wide_first_column_is_folded_between_words() -> None:
    words = "a name of several words that is much longer than all of the others"
    out = table([{"what": f"{words} {words}", "n": 5}], width=60)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[2].split()[-1] == "5"
    assert set(out.split()[3:]) == {*words.split(), "5"}


def test_too_many_columns_are_divided_and_the_first_is_repeated() -> None:
    row = {"policy": "BC with noise, 10 episodes"} | {f"column {i}": 1_000_000.0 + i for i in range(9)}
    out = table([row, {**row, "policy": "b"}])
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("BC with noise, 10 episodes") == 3
    assert all(f"1,000,00{i}" in out for i in range(9))
