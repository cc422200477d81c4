import subprocess
import sys

import pytest
from click.testing import CliRunner

from distil.cli import cli


@pytest.mark.parametrize(
    "words",
    [[], ["train"], ["store"], ["store", "view"], ["experts", "evaluate"], ["recipes"], ["ui"], ["demo"], ["collect"], ["evaluate"]],
)
def test_every_command_explains_itself(words: list[str]) -> None:
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom distil.cli import cli\nCliRunner().invoke(cli, ['--help'])\n"
        "heavy = {'torch', 'ray', 'mlflow', 'numpy', 'gymnasium', 'pyarrow', 'pydantic', 'matplotlib', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recipes_are_listed_shown_and_described() -> None:
    runner = CliRunner()
    listed = runner.invoke(cli, ["recipes", "list"]).output
    assert "lunarlander-bc" in listed
    assert "cartpole-bc" in listed
    shown = runner.invoke(cli, ["recipes", "show", "cartpole-bc", "learner.num_steps=77"]).output
    assert "num_steps: 77" in shown
    assert '"num_steps"' in runner.invoke(cli, ["recipes", "schema"]).output
