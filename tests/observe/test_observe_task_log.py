from __future__ import annotations

import datetime
import re
import subprocess
import sys
import threading

import pytest
from observe_made import NOTHING, ROOT, ended, failed, plan_of

from dagflow.core.commands import TasksEnded
from dagflow.observe.bus import Bus
from dagflow.observe.log import TaskLogger
from dagflow.work.codec import seal
from dagflow.work.values import Values

PLAN = plan_of("fetch", "parse")


def run(logger, *batches, plan=PLAN):
    logger.opened(plan)
    for facts in batches:
        logger.facts(facts)
    logger.tick(NOTHING)
    logger.closed(NOTHING)


def lines_in(folder):
    return [line for file in sorted(folder.iterdir()) for line in file.read_text("utf-8").splitlines()]


def test_a_line_for_every_task(tmp_path):
    run(
        TaskLogger(tmp_path / "logs"),
        [ended(["a", "b"]), ended([{"x": 1}], status="dropped", start=2)],
        [TasksEnded(0, "duplicate", [(ROOT, [9])], 1)],
        [
            failed(4, "bad", node=1, value="v", attempt=1, retry_in=0.25),
            failed(4, "worse", node=1, attempt=2),
        ],
    )
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name == f"dagflow_{datetime.date.today()}.log"
    parts = [line.split(" | ", 2) for line in lines_in(tmp_path / "logs")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", when) for when, _, _ in parts)
    assert [(level.strip(), text) for _, level, text in parts] == [
        ("SUCCESS", "fetch #0 succeeded: 'a'"),
        ("SUCCESS", "fetch #1 succeeded: 'b'"),
        ("INFO", "fetch #2 dropped: {'x': 1}"),
        ("INFO", "fetch #9 duplicate"),
        ("WARNING", "parse #4 retried (attempt 1, again in 0.25 s): ValueError: bad | task 'v'"),
        ("ERROR", "parse #4 failed (attempt 2): ValueError: worse | task 'task'"),
    ]


def test_inputs_by_position_over_several_payloads(tmp_path):
    one, two = seal(["a", "b", "c", "d"], prove=False)[0], Values(["e", "f", "g"])
    fact = TasksEnded(
        0,
        "succeeded",
        [(ROOT, [1, 3]), (ROOT, range(5, 7))],
        4,
        0.0,
        [(one, 1, 4), (two, 1, 3)],
        [0, 2, 3, 4],
    )
    none = TasksEnded(0, "succeeded", [(ROOT, [7, 8])], 2)
    run(TaskLogger(tmp_path, format="{message}"), [fact, none])
    assert lines_in(tmp_path) == [
        "fetch #1 succeeded: 'b'",
        "fetch #3 succeeded: 'd'",
        "fetch #5 succeeded: 'f'",
        "fetch #6 succeeded: 'g'",
        "fetch #7 succeeded",
        "fetch #8 succeeded",
    ]


def test_the_users_sinks_are_untouched(tmp_path, heard, capsys):
    from loguru import logger

    before = repr(logger)
    mine = TaskLogger(tmp_path)
    mine.opened(PLAN)
    logger.warning("the user's own record")
    mine.facts([ended(["a"]), failed()])
    assert repr(logger) == before
    mine.closed(NOTHING)
    assert repr(logger) == before
    assert [text for _, _, text in heard] == ["the user's own record"]
    assert len(lines_in(tmp_path)) == 2
    assert not any("user's own" in line for line in lines_in(tmp_path))
    assert capsys.readouterr().out == ""


def test_disabling_dagflow_does_not_silence_the_file(tmp_path, heard):
    from loguru import logger

    logger.disable("dagflow")
    run(TaskLogger(tmp_path), [ended(["a"])])
    assert len(lines_in(tmp_path)) == 1


class Opened:
    """Counts how often a value of it is made of bytes."""

    times = 0

    def __init__(self, name="x"):
        self.name = name

    def __setstate__(self, state):
        Opened.times += 1
        self.__dict__.update(state)

    def __repr__(self):
        return f"<{self.name}>"


@pytest.mark.parametrize(
    ("level", "statuses"),
    [
        ("DEBUG", ["succeeded", "dropped", "retried", "failed"]),
        ("INFO", ["succeeded", "dropped", "retried", "failed"]),
        ("SUCCESS", ["succeeded", "retried", "failed"]),
        ("WARNING", ["retried", "failed"]),
        ("ERROR", ["failed"]),
        (40, ["failed"]),
        ("CRITICAL", []),
    ],
)
def test_level(tmp_path, level, statuses):
    Opened.times = 0
    facts = [ended([Opened()]), ended([Opened()], status="dropped"), failed(retry_in=1.0), failed()]
    run(TaskLogger(tmp_path, level=level, format="{message}"), facts)
    assert [re.split("[ :]", line)[2] for line in lines_in(tmp_path)] == statuses
    assert Opened.times == len({"succeeded", "dropped"} & set(statuses))


def test_a_payload_is_opened_once(tmp_path):
    Opened.times = 0
    payload = seal([Opened(str(i)) for i in range(500)], prove=False)[0]
    facts = [TasksEnded(0, "succeeded", [(ROOT, [i])], 1, 0.0, [(payload, 0, 500)], [i]) for i in range(0, 500, 2)] + [
        failed(i) for i in range(1, 500, 2)
    ]
    for i, fact in enumerate(facts[250:]):
        fact.input = (payload, 2 * i + 1, 2 * i + 2)
    run(TaskLogger(tmp_path, format="{message}"), facts)
    assert Opened.times == 500
    assert sorted(int(re.search("<(.*)>", line)[1]) for line in lines_in(tmp_path)) == list(range(500))


class Hostile:
    def __init__(self, error):
        self.error = error

    def __repr__(self):
        raise self.error


class Unreadable:
    def __reduce__(self):
        return _explode, ()


def _explode():
    raise SystemExit("while unpickling")


def test_hostile_values_do_not_hurt(tmp_path, heard):
    bad = [
        Hostile(ValueError("x")),
        Hostile(SystemExit(1)),
        Hostile(KeyboardInterrupt()),
        "\n\x1b[2J\u202e\ud800",
    ]
    run(
        TaskLogger(tmp_path, format="{message}"),
        [ended(bad, live=True), ended(["x" * 10_000, [list(range(10_000))]]), ended([Unreadable()] * 2)],
        [failed(message="a\nb\x1b[0m" * 1000, kind="E\nE"), ended(["last"])],
    )
    lines = lines_in(tmp_path)
    assert len(lines) == 4 + 2 + 2 + 1 + 1
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    assert "SystemExit" in lines[1] and "cannot be read" in lines[6]
    assert lines[-1] == "fetch #0 succeeded: 'last'"
    assert heard == []


def test_two_runs_one_after_the_other(tmp_path):
    mine = TaskLogger(tmp_path, format="{message}")
    run(mine, [ended(["a"])])
    run(mine, [ended(["b"])], plan=plan_of("other"))
    assert lines_in(tmp_path) == ["fetch #0 succeeded: 'a'", "other #0 succeeded: 'b'"]


def test_two_runs_at_once(tmp_path):
    mine = TaskLogger(tmp_path, format="{message}")
    first, second = Bus([mine]), Bus([mine])
    first.opened(PLAN)
    second.opened(plan_of("other"))
    first.facts([ended(["a"])])
    second.facts([ended(["b"])])
    first.closed(NOTHING)
    second.facts([ended(["c"])])
    second.closed(NOTHING)
    assert sorted(lines_in(tmp_path)) == [
        "fetch #0 succeeded: 'a'",
        "other #0 succeeded: 'b'",
        "other #0 succeeded: 'c'",
    ]


def test_many_runs_in_threads(tmp_path):
    mine = TaskLogger(tmp_path, format="{message}")

    def one(number):
        bus = Bus([mine])
        run(bus, *[[ended([number] * 100)] for _ in range(10)])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = lines_in(tmp_path)
    assert len(lines) == 4000
    assert all(re.fullmatch(r"fetch #\d+ succeeded: [0-3]", line) for line in lines)


def test_used_directly_for_two_runs_at_once_is_refused(tmp_path):
    mine = TaskLogger(tmp_path)
    mine.opened(PLAN)
    with pytest.raises(RuntimeError, match="for_run"):
        mine.opened(PLAN)
    mine.closed(NOTHING)
    run(mine, [ended([1])])
    assert len(lines_in(tmp_path)) == 1


def test_format_and_path_can_be_overridden(tmp_path):
    class Mine(TaskLogger):
        def path(self):
            return str(tmp_path / "deep" / "mine.txt")

        def format(self, record):
            return f"{record.status.upper()} {record.task} {record.error_type}"

    run(Mine(format="{level} {message}{{}}"), [ended(["a"]), failed(retry_in=1.5)])
    text = (tmp_path / "deep" / "mine.txt").read_text()
    assert text == "SUCCESS SUCCEEDED 'a' {}\nWARNING RETRIED 'task' ValueError{}\n"


def test_a_format_that_raises_is_reported_once(tmp_path, heard):
    class Mine(TaskLogger):
        def format(self, record):
            raise KeyError("mine")

    run(Mine(tmp_path), [ended(["a", "b"])], [ended(["c"])])
    assert len(lines_in(tmp_path)) == 3
    ((level, name, text),) = heard
    assert (level, name) == ("ERROR", "dagflow.observe.failures") and "KeyError" in text


def test_a_file_that_cannot_be_written_is_reported_once(tmp_path, heard, capfd):
    (tmp_path / "file").write_text("no folder")
    run(TaskLogger(tmp_path / "file"), *[[ended([i])] for i in range(200)])
    ((_, _, text),) = heard
    assert "Error" in text
    # What stands on stderr comes from the user's own sinks: one record, not one for every batch.
    assert capfd.readouterr().err.count("cannot be written") <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"level": "LOUD"},
        {"rotation": "banana"},
        {"retention": "banana"},
        {"format": "{time} only"},
        {"format": "{nothing} {message}"},
        {"format": "{message"},
    ],
)
def test_wrong_options_raise_at_once(tmp_path, options):
    with pytest.raises((ValueError, TypeError)):
        TaskLogger(tmp_path / "logs", **options)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_before_there_is_something(tmp_path):
    run(TaskLogger(tmp_path / "logs"))
    assert list(tmp_path.iterdir()) == []


def test_folder_with_braces_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(TaskLogger("a{b}"), [ended([1])])
    assert len(lines_in(tmp_path / "a{b}")) == 1


def test_rotation_loses_nothing_and_retention_keeps_few(tmp_path):
    many = [[ended(["x" * 100] * 50)] for _ in range(100)]
    run(TaskLogger(tmp_path / "all", rotation="100 kB", retention=None), *many)
    assert len(list((tmp_path / "all").iterdir())) > 3
    assert len(lines_in(tmp_path / "all")) == 5000
    run(TaskLogger(tmp_path / "few", rotation="100 kB", retention=2), *many)
    assert len(list((tmp_path / "few").iterdir())) == 2


def test_old_days_go_though_each_run_is_short(tmp_path):
    for day in range(1, 21):
        (tmp_path / f"dagflow_2001-01-{day:02}.log").write_text("old\n")
    (tmp_path / "dagflow.txt").write_text("not ours\n")
    run(TaskLogger(tmp_path, retention=3), [ended([1])])
    assert len(list(tmp_path.iterdir())) == 3 + 1
    assert (tmp_path / f"dagflow_{datetime.date.today()}.log").exists()


def test_a_new_day_is_a_new_file(tmp_path, monkeypatch):
    from loguru import _file_sink, _logger
    from loguru._datetime import aware_now

    now = [aware_now()]
    monkeypatch.setattr(_logger, "aware_now", lambda: now[0])
    monkeypatch.setattr(_file_sink, "FileDateFormatter", lambda: now[0])
    mine = TaskLogger(tmp_path, format="{message}", retention=None)
    bus = Bus([mine])
    bus.opened(PLAN)
    other = Bus([mine])  # holds the file open over midnight
    other.opened(PLAN)
    bus.facts([ended(["a"])])
    bus.closed(NOTHING)
    now[0] += datetime.timedelta(days=1)
    other.facts([ended(["b"])])
    other.closed(NOTHING)
    files = sorted(tmp_path.iterdir())
    assert [f.read_text() for f in files] == ["fetch #0 succeeded: 'a'\n", "fetch #0 succeeded: 'b'\n"]


def test_a_hundred_thousand_successes(tmp_path, monkeypatch):
    from dagflow.observe.logfile import LogFile

    writes = []
    write = LogFile.write
    monkeypatch.setattr(
        LogFile, "write", lambda self, level, lines: (writes.append(len(lines)), write(self, level, lines))
    )
    batches = [
        [ended([f"https://example.org/{n}" for n in range(i, i + 500)], start=i)] for i in range(0, 100_000, 500)
    ]
    run(TaskLogger(tmp_path), *batches)
    assert sum(writes) == 100_000
    assert len(writes) <= 200 and max(writes) <= 2000
    numbers = [int(re.search(r"#(\d+)", line)[1]) for line in lines_in(tmp_path)]
    assert numbers == list(range(100_000))


def test_single_facts_share_records_where_the_writer_lags(tmp_path, monkeypatch):
    """The run waits while the writer is held, and nothing is lost."""
    from dagflow.observe.logfile import LogFile

    writes, go = [], threading.Event()
    write = LogFile.write

    def slow(self, level, lines):
        go.wait()
        writes.append(len(lines))
        write(self, level, lines)

    monkeypatch.setattr(LogFile, "write", slow)
    mine = TaskLogger(tmp_path)
    mine.opened(PLAN)
    feeder = threading.Thread(target=lambda: [mine.facts([ended([i])]) for i in range(1000)])
    feeder.start()
    go.set()
    feeder.join()
    mine.closed(NOTHING)
    assert sum(writes) == len(lines_in(tmp_path)) == 1000


def test_importing_loads_neither_loguru_nor_tqdm():
    code = (
        "import sys, dagflow.observe.bus, dagflow.observe.log, dagflow.observe.progress\n"
        "print(sorted({'loguru', 'tqdm', 'networkx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_router_drops_is_logged_once(tmp_path):
    """It was told as succeeded too, once."""
    from dagflow import DROP, Graph, Router

    graph = Graph(Router(lambda n: n % 2, name="odd") >> {1: str, 0: DROP})
    graph.run(range(4), "thread", logger=TaskLogger(tmp_path, format="{message}"))
    odd = sorted(line for line in lines_in(tmp_path) if line.startswith("odd"))
    assert odd == ["odd #0 dropped: 0", "odd #1 succeeded: 1", "odd #2 dropped: 2", "odd #3 succeeded: 3"]


def test_a_task_that_killed_its_worker_is_logged(tmp_path):
    import os

    from dagflow import Graph, TaskManager

    def once(x):
        if x == 1 and not os.path.exists(tmp_path / "died"):
            (tmp_path / "died").touch()
            os.kill(os.getpid(), 9)
        return x

    Graph(TaskManager(once)).run(range(3), "process", logger=TaskLogger(tmp_path / "logs", format="{message}"))
    told = [line for line in lines_in(tmp_path / "logs") if " #1 " in line]
    assert len(told) == 2
    assert re.match(r"once #1 retried \(attempt 1, again in 0.00 s\): WorkerDied: was killed by SIGKILL", told[0])
    assert told[1] == "once #1 succeeded: 1"
