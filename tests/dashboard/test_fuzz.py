"""The API under requests made at random from its own description, and its answers against it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dbrrl.dashboard.runs import identity
from tests.dashboard.conftest import Site
from tests.dashboard.folders import made
from tests.dashboard.test_server import ODD_LINES

schemathesis = pytest.importorskip("schemathesis", reason="the fuzz tests need schemathesis")
hypothesis = pytest.importorskip("hypothesis")
generation = pytest.importorskip("schemathesis.generation")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "right"), [("POSITIVE", {200, 404}), ("NEGATIVE", {400, 404})])
def test_no_request_made_from_the_description_is_answered_otherwise(
    tmp_path: Path, site: Callable[..., Site], mode: str, right: set[int]
) -> None:
    for seed in range(3):
        made(tmp_path / "runs" / f"run{seed}", seed=seed, learning_rate=0.1)
    odd = made(tmp_path / "runs" / os.fsdecode(b"odd-\xff"), ended=None, alive=True)
    (odd / "log.jsonl").write_text("".join(line + "\n" for line in ODD_LINES))
    one = site()
    headers = {"authorization": f"Bearer {one.server.access.token}"}
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{one.port}/api/openapi.json", headers=headers)
    known, asked = identity("run0"), set()

    for result in schema.exclude(path="/api/live").get_all_operations():  # which has no end
        operation = result.ok()

        @hypothesis.settings(
            max_examples=60,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            database=None,
            derandomize=True,
        )
        @hypothesis.given(
            case=operation.as_strategy(generation_mode=generation.GenerationMode[mode]),
            real=hypothesis.strategies.booleans(),
        )
        def check(case: object, real: bool) -> None:
            if real and "run" in case.path_parameters:  # type: ignore[attr-defined]
                case.path_parameters["run"] = known  # type: ignore[attr-defined]
            answer = case.call(headers=headers)  # type: ignore[attr-defined]
            assert answer.status_code < 500, answer.content
            case.validate_response(answer, excluded_checks=[checks.ignored_auth])  # type: ignore[attr-defined]
            asked.add(answer.status_code)

        check()
    assert right <= asked
