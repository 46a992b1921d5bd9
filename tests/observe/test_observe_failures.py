from __future__ import annotations

from observe_made import NOTHING, ROOT, ended, failed, plan_of, snapshot_of

from dagflow.core.ids import Space
from dagflow.observe.failures import FailureLog


def run(*facts, plan=None, snapshot=NOTHING, log=None):
    log = log or FailureLog()
    log.opened(plan or plan_of("fetch", "parse"))
    for fact in facts:
        log.facts([fact])
    log.closed(snapshot)


def test_a_final_failure_is_told(heard):
    run(failed(3, "bad page", node=1, attempt=3, space=Space(ROOT, 0, 7, 0)))
    ((level, name, text),) = heard
    assert (level, name) == ("ERROR", "dagflow.observe.failures")
    for part in ("'parse'", "7.3", "3 attempts", "ValueError", "bad page"):
        assert part in text


def test_retries_and_successes_are_not(heard):
    run(failed(retry_in=0.5), ended([1, 2, 3]))
    assert heard == []


def test_taken_up_by_a_branch_is_a_warning(heard):
    run(failed(node=0), failed(node=1), plan=plan_of("a", "b", taken_up=("a",)))
    assert [level for level, _, _ in heard] == ["WARNING", "ERROR"]


def test_bounded_for_each_node_and_type(heard):
    run(
        *[failed(i, node=0) for i in range(100)],
        *[failed(i, node=1) for i in range(7)],
        *[failed(i, node=1, kind="KeyError") for i in range(3)],
    )
    assert len(heard) == 5 + 5 + 3 + 1
    assert "suppressed 97 more" in heard[-1][2]
    assert "fetch ValueError (95)" in heard[-1][2] and "parse ValueError (2)" in heard[-1][2]


def test_bounded_with_endless_types(heard):
    run(*[failed(i, kind=f"Error{i}") for i in range(5000)])
    assert len(heard) <= 110
    assert f"suppressed {5000 - (len(heard) - 1)} more" in heard[-1][2]


def test_crashes_are_told_at_the_end(heard):
    run(snapshot=snapshot_of(crashes=2))
    assert [(level, "crashed 2 times" in text) for level, _, text in heard] == [("WARNING", True)]


def test_disable_silences(heard):
    from loguru import logger

    logger.disable("dagflow")
    run(*[failed(i) for i in range(20)], snapshot=snapshot_of(crashes=1))
    assert heard == []


def test_forged_lines_and_braces(heard):
    run(failed(message="{no} <red>x</red>\n2026 | ERROR | forged\x1b[2J", kind="E\n{x}"))
    text = heard[0][2]
    assert text.isprintable() and "{no} <red>x</red>\\n2026" in text


def test_the_users_sinks_are_untouched(heard):
    from loguru import logger

    before = repr(logger)
    run(*[failed(i) for i in range(20)])
    assert repr(logger) == before


def test_format_can_be_overridden(heard):
    class Short(FailureLog):
        most = 1

        def format(self, record):
            return f"{record.node}!{record.message}"

    run(failed(message="x"), failed(message="y"), log=Short())
    assert [text for _, _, text in heard][0] == "fetch!x"
    assert len(heard) == 2


def test_one_log_for_runs_one_after_the_other(heard):
    log = FailureLog()
    for _ in range(2):
        run(*[failed(i) for i in range(6)], log=log)
    assert len(heard) == 2 * 6
