import subprocess
import sys

import pytest
from click.testing import CliRunner

from distil.cli.main import cli


@pytest.mark.parametrize(
    "command",
    ["", "train", "store", "store view", "experts evaluate", "recipes", "ui", "demo", "collect", "evaluate"],
)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner as R\nfrom distil.cli.main import cli\nR().invoke(cli, ['--help'])\n"
        "heavy = {'torch', 'ray', 'mlflow', 'numpy', 'gymnasium', 'pyarrow', 'pydantic', 'matplotlib', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
