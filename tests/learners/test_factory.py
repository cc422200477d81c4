import subprocess
import sys


def test_the_configuration_needs_neither_torch_nor_ray():
    code = "import sys, distil.learners; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
