import asyncio

import gymnasium as gym
import pytest

from distil.errors import InputError
from distil.learners.mailbox import Done, Mailbox, Order
from distil.plans import UpdatePlan
from distil.policies.config import PolicyConfig
from distil.policies.spec import PolicyRef, PolicySpec
from distil.spaces import action_spec, observation_spec


def order(index: int) -> Order:
    return Order(index=index, plan=UpdatePlan(num_steps=1, round=index), streams={})


BOX = gym.spaces.Box(-1, 1, (2,))
SPEC = PolicySpec(config=PolicyConfig(), observation=observation_spec(BOX), action=action_spec(BOX))
DONE = Done(metrics={"train/loss": 1.0}, policy=PolicyRef(version=1, spec=SPEC, arrays={}))


def run(coroutine):
    return asyncio.run(coroutine)


def test_ranks_get_the_order_and_the_run_gets_its_result():
    async def talk():
        box = Mailbox()
        waiting = [asyncio.create_task(box.next_order(-1, 5)) for _ in range(2)]
        await asyncio.sleep(0)
        await box.post(order(0))
        assert [await rank for rank in waiting] == [order(0), order(0)]
        result = asyncio.create_task(box.status(0, 5))
        await asyncio.sleep(0)
        await box.report(0, DONE)
        assert (await result).result == DONE
        assert await box.next_order(0, 0.01) is True

    run(talk())


def test_a_restarted_group_gets_the_order_without_a_result():
    """CORRECTNESS 11."""

    async def talk():
        box = Mailbox()
        await box.post(order(0))
        await box.report(0, DONE)
        await box.post(order(1))
        await box.started(0, 11)
        await box.started(1, 12)
        assert await box.next_order(-1, 1) == order(1)
        status = await box.status(1, 0.01)
        assert (status.num_starts, status.pids) == (1, {0: 11, 1: 12})

    run(talk())


def test_progress_is_reported_once():
    async def talk():
        box = Mailbox()
        assert await box.tell(5, 10, {"loss": 1.0})
        assert (await box.status(0, 0.01)).progress == (5, 10, {"loss": 1.0})
        assert (await box.status(0, 0.01)).progress is None

    run(talk())


def test_notes_are_reported_once():
    async def talk():
        box = Mailbox()
        await box.note("one")
        await box.note("two")
        assert (await box.status(0, 0.01)).notes == ("one", "two")
        assert (await box.status(0, 0.01)).notes == ()

    run(talk())


def test_the_first_error_is_kept_and_reported_at_once():
    async def talk():
        box = Mailbox()
        await box.fail(InputError("first"))
        await box.fail(InputError("second"))
        async with asyncio.timeout(1):
            status = await box.status(0, 60)
        assert str(status.error) == "first"

    run(talk())


@pytest.mark.parametrize("waiting", [True, False])
def test_closing_ends_the_ranks(waiting):
    async def talk():
        box = Mailbox()
        asked = asyncio.create_task(box.next_order(-1, 5))
        if waiting:
            await asyncio.sleep(0)
        await box.close()
        assert await asked is False
        assert not await box.tell(1, 2, {})

    run(talk())


def test_policies_to_look_at_are_passed_on_once():
    async def talk():
        box = Mailbox()
        await box.show(10, "policy")
        assert (await box.status(0, 0.01)).shown == ((10, "policy"),)
        assert (await box.status(0, 0.01)).shown == ()

    run(talk())
