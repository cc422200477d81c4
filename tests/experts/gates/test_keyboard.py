import os
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gatebed import BOX, CHOICE, leaf, situation

from distil.errors import InputError
from distil.experts.gates.human import HumanPlan
from distil.experts.gates.keyboard import KeyboardConfig

DISCRETE = {"left": 1, "space": 2, "d": 3}
SCANCODES = {"a": 4, "d": 7, "space": 44, "right": 79, "left": 80, "up": 82}  # of USB's HID table, as SDL numbers them
CONTINUOUS = {"left": [-1.5, 0], "right": [1.5, 0], "up": [0, 4.0]}


@pytest.fixture
def pressed(monkeypatch):
    """A window without a screen; calling it holds keys down, as pygame reports them."""
    monkeypatch.setitem(os.environ, "SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pygame

    pygame.display.init()
    pygame.display.set_mode((40, 40))

    def hold(*names):
        codes = [SCANCODES[name] for name in names]
        state = pygame.key.ScancodeWrapper(tuple(code in codes for code in range(512)))
        monkeypatch.setattr(pygame.key, "get_pressed", lambda: state)

    hold()
    yield hold
    pygame.display.quit()


def human(keys, space):
    return KeyboardConfig(keys=keys).build(1, leaf(space))


def answer(keyboard):
    labels = keyboard.intervene({}, None)
    return labels.actions[0].tolist() if labels.mask[0] else None


def test_among_discrete_actions_the_first_key_that_is_down_counts(pressed):
    keyboard = human(DISCRETE, CHOICE)
    assert answer(keyboard) is None
    for held, action in [(["space"], 2), (["d", "left"], 1), (["d"], 3), (["a"], None), ([], None)]:
        pressed(*held)
        assert answer(keyboard) == action
    pressed("d")
    keyboard.begin(0, 1)
    assert answer(keyboard) == 3  # a key that is held stays held
    labels = keyboard.intervene({}, None)
    assert labels.actions.dtype == np.int64


def test_in_a_box_the_actions_of_keys_are_added(pressed):
    keyboard = human(CONTINUOUS, BOX)
    for held, action in [(["left"], [-1.5, 0]), (["left", "up"], [-1.5, 4]), (["left", "right"], [0, 0]), ([], None)]:
        pressed(*held)
        assert answer(keyboard) == action
    pressed("up")
    assert keyboard.intervene({}, None).actions.dtype == np.float32


def test_a_sum_beyond_the_bounds_is_clipped(pressed):
    """CORRECTNESS 9."""
    gate = HumanPlan(intervener=KeyboardConfig(keys={"left": [1.5, 0], "right": [1.5, 0]})).build(1, leaf(BOX))
    pressed("left", "right")
    now, _ = situation([0], np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
    assert gate.choose(now).labels.actions.tolist() == [[2, 0]]


@pytest.mark.parametrize(
    ("keys", "space", "words"),
    [
        ({"lefft": 1}, CHOICE, "no key 'lefft'; use names such as left, space, a"),
        ({"left": 0}, CHOICE, r"keys\.left: 0 is not one of the \(3,\) actions from 1"),
        ({"left": 4}, CHOICE, r"keys\.left: 4 is not one of"),
        ({"left": 1.5}, CHOICE, r"keys\.left: 1\.5 is not an action"),
        ({"left": [1]}, CHOICE, r"keys\.left: \[1\] is not an action; required shape: \(\)"),
        ({"left": 1}, BOX, r"keys\.left: 1 is not an action; required shape: \(2,\)"),
        ({"left": ["a", "b"]}, BOX, "is not an action"),
        ({"left": [[1], [1, 2]]}, BOX, "is not an action"),
        ({"left": True}, CHOICE, "is not an action"),
        ({"left": [0, 3]}, gym.spaces.MultiDiscrete([2, 3]), r"\[0, 3\] is not one of the \(2, 3\) actions"),
    ],
)
def test_keys_and_actions_that_do_not_exist(keys, space, words):
    """Known without a window."""
    with pytest.raises(InputError, match=words):
        KeyboardConfig(keys=keys).check(leaf(space))
    with pytest.raises(InputError, match=words):
        human(keys, space)


def test_it_watches_one_window():
    with pytest.raises(InputError, match=r"one window is watched, not 4: set rollouts\.num_envs=1"):
        KeyboardConfig(keys=DISCRETE).build(4, leaf(CHOICE))


def test_without_a_window_there_are_no_keys(pressed):
    import pygame

    keyboard = human(DISCRETE, CHOICE)
    pygame.display.quit()
    with pytest.raises(InputError, match=r"set env\.kwargs\.render_mode=human"):
        keyboard.intervene({}, None)
