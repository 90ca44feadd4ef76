"""What the healer makes of Airflow's answers, good and bad, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from patience import PATIENCE
from scripted_airflow import ScriptedAirflow, scripted_airflow

from podbay.aio.clock import SystemClock
from podbay.errors import AirflowApiError
from podbay.healer import airflow_api
from podbay.healer.airflow_api import AirflowApi, AirflowLogin
from podbay.healer.decide import Questions
from podbay.healer.world import AirflowAnswer, TaskKey

ODD = "manual__2025-03-20T16:21:27+00:00/ü %2F"


@pytest_asyncio.fixture
async def airflow() -> AsyncIterator[ScriptedAirflow]:
    async with scripted_airflow() as found:
        yield found


async def ask(airflow: ScriptedAirflow, *keys: TaskKey, oldest: float = 0.0, **more: Any) -> AirflowAnswer:
    seconds = more.pop("seconds", 30.0)
    async with AirflowApi(AirflowLogin(url=airflow.url, **more), SystemClock(), seconds=seconds) as api:
        return await api.answer(lambda _: Questions(frozenset(keys), oldest))


async def test_active_ones_are_listed_and_others_asked_for(airflow: ScriptedAirflow) -> None:
    airflow.page = 2
    for number in range(5):
        airflow.put("d", "r", f"t{number}", "running")
    airflow.put("d", ODD, "ended", "success", end_date="2026-03-01T10:00:00Z", map_index=4)
    ended, missing = TaskKey("d", ODD, "ended", 4), TaskKey("d", ODD, "nowhere")
    found = await ask(airflow, ended, missing, TaskKey("d", "r", "t0"))
    assert found.complete, found.trouble
    assert len(found.tasks) == 6
    assert found.tasks[ended].is_finished
    assert found.absent == {missing}
    assert found.now.tzinfo is not None
    assert sum("taskInstances?" in each for each in airflow.requests) == 3
    assert not any(each.endswith("/t0") for each in airflow.requests), "it was listed"


async def test_what_labels_leave_open_is_looked_for_among_the_ended(airflow: ScriptedAirflow) -> None:
    airflow.put("d", "r", "ended", "failed")
    found = await ask(airflow, oldest=100.0)
    assert TaskKey("d", "r", "ended") in found.tasks
    assert any("updated_at_gte=" in each for each in airflow.requests)


async def test_a_history_that_is_too_long_leaves_the_rest_of_the_answer_whole(
    airflow: ScriptedAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_api, "PAGES", 2)
    monkeypatch.setattr(airflow_api, "PAGE", 2)
    airflow.put("d", "r", "busy", "running")
    for number in range(5):
        airflow.put("d", "r", f"t{number}", "success")
    wanted = [100.0, 100.0, 99.0]
    async with AirflowApi(AirflowLogin(url=airflow.url), SystemClock()) as api:
        for age, asked in zip(wanted, (2, 0, 2), strict=True):
            airflow.requests.clear()
            found = await api.answer(lambda _, age=age: Questions(frozenset(), age))  # type: ignore[misc]
            assert found.complete, found.trouble
            assert "more than 4 task instances" in found.left_open
            assert set(found.tasks) == {TaskKey("d", "r", "busy")}
            # What was too long is not read again each round; a shorter time may do.
            assert sum("updated_at_gte=" in each for each in airflow.requests) == asked
    assert not (await ask(airflow)).left_open
    for number in range(5):
        airflow.put("d", "r", f"busy-{number}", "running")
    assert "more than 4" in (await ask(airflow)).trouble, "of the active ones all must be known"


async def test_pages_that_change_while_they_are_read_lose_nobody(airflow: ScriptedAirflow) -> None:
    """One of the first page ends, so all later ones move up by one place: by places one would be left out."""
    airflow.page = 2
    for number in range(6):
        airflow.put("d", "r", f"t{number}", "running")
    airflow.ends_while_paging = ("d", "r", "t0", -1)
    found = await ask(airflow)
    assert found.complete, found.trouble
    assert {key.task_id for key in found.tasks} == {f"t{number}" for number in range(6)}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 302])
@pytest.mark.parametrize("part", ["/version", "taskInstances?", "/auth/token"])
async def test_a_refusal_leaves_no_answer(airflow: ScriptedAirflow, status: int, part: str) -> None:
    airflow.put("d", "r", "t", "running")
    airflow.broken[part] = status
    found = await ask(airflow, username="u", password="secret-word")
    assert not found.complete
    assert found.trouble
    assert "secret-word" not in found.trouble


@pytest.mark.parametrize(("status", "is_whole"), [(500, False), (401, False), (404, True), (403, True)])
async def test_a_single_one_that_is_not_told_stays_open(
    airflow: ScriptedAirflow, status: int, is_whole: bool
) -> None:
    """A 404 that is not Airflow's own word for exactly that one is no proof."""
    airflow.broken["/taskInstances/t"] = status
    key = TaskKey("d", "r", "t")
    found = await ask(airflow, key)
    assert found.complete is is_whole
    assert key not in found.tasks
    assert key not in found.absent


async def test_a_question_that_fails_ends_all_others(airflow: ScriptedAirflow) -> None:
    airflow.broken["/taskInstances/broken"] = 500
    airflow.hanging = {f"slow-{number}" for number in range(3)}
    keys = frozenset(TaskKey("d", "r", each) for each in (*airflow.hanging, "broken"))
    before = asyncio.all_tasks()
    async with AirflowApi(AirflowLogin(url=airflow.url), SystemClock()) as api:
        asking = asyncio.ensure_future(api.answer(lambda _: Questions(keys, 0.0)))
        found = await asyncio.wait_for(asking, PATIENCE)
        left = {each for each in asyncio.all_tasks() - before if "one" in str(each.get_coro())}
    assert "does not tell of task d.broken" in found.trouble
    assert not left, "they would ask on beside the next round"


async def test_other_versions_and_other_servers(airflow: ScriptedAirflow) -> None:
    airflow.version = "2.11.0"
    assert "Airflow 2.11.0" in (await ask(airflow)).trouble
    airflow.version, airflow.forget_cursor = "3.0.1", True
    assert "no cursor" in (await ask(airflow)).trouble


async def test_a_slow_one_and_none_at_all(airflow: ScriptedAirflow) -> None:
    airflow.hang = True
    assert "took more than" in (await ask(airflow, seconds=1.0)).trouble
    url, airflow.url = airflow.url, "http://127.0.0.1:1"
    assert "cannot be reached" in (await ask(airflow)).trouble
    airflow.url = url


async def test_task_instances_in_another_shape(airflow: ScriptedAirflow) -> None:
    airflow.put("d", "r", "t", "running", try_number="many")
    assert "shape" in (await ask(airflow)).trouble


async def test_a_token_that_ends_is_renewed(airflow: ScriptedAirflow) -> None:
    airflow.put("d", "r", "t", "running")
    async with AirflowApi(
        AirflowLogin(url=airflow.url, username="u", password="secret-word"), SystemClock()
    ) as api:
        assert await api.look(TaskKey("d", "r", "t")) is not None
        airflow.token = "t-2"
        assert await api.look(TaskKey("d", "r", "t")) is not None
        airflow.password = "another"
        airflow.token = "t-3"
        with pytest.raises(AirflowApiError, match=r"refuses the login \(401\)") as caught:
            await api.look(TaskKey("d", "r", "t"))
    assert "secret-word" not in str(caught.value)


async def test_a_login_hides_its_words() -> None:
    login = AirflowLogin(url="http://x", username="u", password="secret-word", token="secret-token")
    assert "secret" not in repr(login)
