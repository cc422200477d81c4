import base64
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from distil.errors import InputError
from distil.experts.sb3 import archive
from distil.experts.sb3.archive import read_archive

torch = pytest.importorskip("torch")


class Evil:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def put(path, members, compression=zipfile.ZIP_STORED):
    if isinstance(path, Path):
        path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def weights(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


GOOD = weights({"a.weight": torch.arange(4.0)})


def test_reads_settings_weights_and_config(tmp_path):
    path = put(tmp_path / "m.zip", {"data": '{"use_sde": true}', "policy.pth": GOOD, "_stable_baselines3_version": "1.2.3"})
    (tmp_path / "config.yml").write_text("!!python/object/apply:collections.OrderedDict\n- - - normalize\n    - true\n")
    for where in (path, tmp_path):
        model = read_archive(where)
        assert model.path == path
        assert model.data == {"use_sde": True}
        assert model.version == "1.2.3"
        assert model.training == {"normalize": True}
        np.testing.assert_array_equal(model.weights["a.weight"], [0, 1, 2, 3])


def test_config_yml_of_the_zoos_inner_folder(tmp_path):
    path = put(tmp_path / "m.zip", {"data": "{}", "policy.pth": GOOD})
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.yml").write_text("normalize: true\n")
    assert read_archive(path).training == {"normalize": True}
    assert read_archive(path).version == ""
    best = put(tmp_path / "Ant-v3_1/best_model.zip", {"data": "{}", "policy.pth": GOOD})
    assert read_archive(best).training == {}
    (tmp_path / "Ant-v3_1/Ant-v3").mkdir()
    (tmp_path / "Ant-v3_1/Ant-v3/config.yml").write_text("normalize: true\n")
    assert read_archive(best).training == {"normalize": True}


def test_nothing_in_the_zip_is_executed(tmp_path):
    marker = tmp_path / "executed"
    evil = pickle.dumps(Evil(marker))
    good = put(
        tmp_path / "good.zip",
        {"data": json.dumps({"x": {":serialized:": base64.b64encode(evil).decode()}}), "policy.pth": GOOD},
    )
    read_archive(good)
    for name, data in (("torch", weights(Evil(marker))), ("dict", weights({"a": Evil(marker)})), ("raw", evil)):
        path = put(tmp_path / f"{name}.zip", {"data": "{}", "policy.pth": data})
        with pytest.raises(InputError, match=r"policy.pth refused, not plain weights"):
            read_archive(path)
    (tmp_path / "config.yml").write_text(f"!!python/object/apply:os.mkdir\n- {marker}\n")
    with pytest.raises(InputError, match=r"config.yml line 1: not valid YAML: could not determine a constructor for the tag"):
        read_archive(good)
    assert not marker.exists()


def test_bombs_and_oversized_members_are_refused(tmp_path, monkeypatch):
    bomb = put(tmp_path / "bomb.zip", {"data": b" " * 3_000_000, "policy.pth": GOOD}, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"member data unpacks to 3000000 bytes, over the safety limit"):
        read_archive(bomb)
    inner = io.BytesIO()
    put(inner, {"archive/data.pkl": b"", "archive/data/0": b"\0" * 3_000_000}, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"member archive/data/0 unpacks to 3000000 bytes"):
        read_archive(put(tmp_path / "inner.zip", {"data": "{}", "policy.pth": inner.getvalue()}))
    aliases = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 9))
    path = put(tmp_path / "aliases.zip", {"data": "{}", "policy.pth": GOOD})
    (tmp_path / "config.yml").write_text(f"x0: &x0 [1]\n{aliases}")
    with pytest.raises(InputError, match=r"config.yml: not valid YAML: more than 100000 values once aliases"):
        read_archive(path)
    (tmp_path / "config.yml").unlink()
    monkeypatch.setitem(archive.MAX_BYTES, "policy.pth", len(GOOD) - 1)
    with pytest.raises(InputError, match=r"member policy.pth unpacks to"):
        read_archive(put(tmp_path / "large.zip", {"data": "{}", "policy.pth": GOOD}))


def test_bad_files_say_what_and_where(tmp_path):
    cases = {
        "missing": (None, "missing.zip: no such file; set expert.path"),
        "junk": (b"junk", "junk.zip: not a readable zip"),
        "no_weights": ({"data": "{}"}, "has no member policy.pth; is it a Stable-Baselines3 zip"),
        "no_json": ({"data": "{", "policy.pth": GOOD}, "member data isn't JSON"),
        "list": ({"data": "[]", "policy.pth": GOOD}, "does not hold Stable-Baselines3 settings"),
        "tensor": ({"data": "{}", "policy.pth": weights(torch.ones(2))}, "is not a dictionary of tensors"),
    }
    for name, (content, fault) in cases.items():
        path = tmp_path / f"{name}.zip"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content:
            put(path, content)
        with pytest.raises(InputError, match=fault) as caught:
            read_archive(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"holds 5 zip files; set expert.path to the one"):
        read_archive(tmp_path)


def test_a_truncated_zip_is_one_line(tmp_path):
    whole = put(tmp_path / "m.zip", {"data": "{}", "policy.pth": GOOD}).read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "m.zip").write_bytes(whole[:size])
        with pytest.raises(InputError):
            read_archive(tmp_path / "m.zip")
    altered = bytearray(whole)
    altered[whole.index(b"data.pkl") + 30] ^= 0xFF
    (tmp_path / "m.zip").write_bytes(bytes(altered))
    with pytest.raises(InputError, match=r"not a readable zip"):
        read_archive(tmp_path / "m.zip")


@pytest.mark.filterwarnings("ignore")  # a damaged file makes torch warn, too
def test_any_damage_is_one_line(tmp_path):
    rng = np.random.default_rng(0)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        whole = put(tmp_path / "m.zip", {"data": "{}", "policy.pth": GOOD}, compression).read_bytes()
        for _ in range(150):
            altered = bytearray(whole)
            for place in rng.integers(len(whole), size=3):
                altered[place] = rng.integers(256)
            (tmp_path / "m.zip").write_bytes(bytes(altered))
            try:
                read_archive(tmp_path / "m.zip")
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - some damage does no harm
    for name, data in (("digits", "9" * 5000), ("nan", "[NaN]")):
        with pytest.raises(InputError, match=rf"{name}.zip"):
            read_archive(put(tmp_path / f"{name}.zip", {"data": data, "policy.pth": GOOD}))
    deep = put(tmp_path / "deep.zip", {"data": "[" * 100_000, "policy.pth": GOOD})
    with pytest.raises(InputError, match=r"deep.zip"):
        read_archive(deep)
