"""What functions log in worker processes goes where the driver's own records go, if that is a stream or a file."""

import pytest
from scripts_made import script

pytestmark = pytest.mark.timeout(60)


def lines_of(path):
    return path.read_text().splitlines()


# -- logging ------------------------------------------------------------------------------------------------


def test_the_root_loggers_streams_and_files(tmp_path):
    said = script(f"""
        import logging
        log = logging.getLogger("some.name")

        class Shouting(logging.Formatter):
            def format(self, record):
                return super().format(record).upper()

        def long(record):
            return len(record.getMessage()) > 4

        out, file = logging.StreamHandler(sys.stdout), logging.FileHandler({str(tmp_path / "x.log")!r}, mode="w")
        out.setFormatter(Shouting("%(name)s: %(message)s"))
        out.addFilter(long)
        file.setLevel(logging.INFO)
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(message)s", handlers=[out, file])
        logging.getLogger("some").setLevel(logging.INFO)

        def says(x):
            log.debug("hidden")
            log.info("abc %d", x)
            log.info("ab")
            logging.debug("debug")

        results(says, [1])
        log.info("driver")
        results(says, [2])
    """)
    assert said == [
        *("SOME.NAME: ABC 1", "ROOT: DEBUG", "None", "SOME.NAME: DRIVER", "SOME.NAME: ABC 2", "ROOT: DEBUG", "None")
    ]
    assert lines_of(tmp_path / "x.log") == ["INFO abc 1", "INFO ab", "INFO driver", "INFO abc 2", "INFO ab"]


def test_other_loggers(tmp_path):
    """What the script has set up; what a module sets up as it is imported is not there twice."""
    (tmp_path / "chatty.py").write_text(
        "import logging, sys\n"
        "log = logging.getLogger('chatty')\n"
        "log.setLevel('ERROR')\n"
        "log.addHandler(logging.StreamHandler(sys.stdout))\n"
        "logging.basicConfig(level='DEBUG', stream=sys.stdout, format='nobody sees this')\n"
        "def says(x):\n"
        "    log.info('module %d', x)\n"
        "    logging.getLogger('script').info('script %d', x)\n"
        "    logging.getLogger('else').info('else %d', x)\n"
    )
    said = script(f"""
        import logging
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="root %(message)s")
        log = logging.getLogger("script")
        log.addHandler(logging.StreamHandler(sys.stdout))
        log.propagate = False
        sys.path.insert(0, {str(tmp_path)!r})
        import chatty
        chatty.log.setLevel("INFO")
        results(chatty.says, [1])
        chatty.says(2)
    """)
    assert said == [
        *("module 1", "root module 1", "script 1", "root else 1", "None"),
        *("module 2", "root module 2", "script 2", "root else 2"),
    ]


def test_workers_follow_a_file_that_the_driver_sets_aside(tmp_path):
    said = script(f"""
        import logging, logging.handlers
        file = logging.handlers.RotatingFileHandler({str(tmp_path / "x.log")!r}, backupCount=5, maxBytes=10**9)
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[file])
        gone = threading.Event()

        def says(x):
            logging.info("worker %d", x)

        def tasks():
            yield 1
            gone.wait()
            yield 2

        for out in Graph(TaskManager(says, name="n")).stream(tasks()):
            file.doRollover()
            logging.info("driver")
            gone.set()
    """)
    assert said == []
    found = [lines_of(tmp_path / name) for name in ("x.log.2", "x.log.1", "x.log")]
    assert found == [["worker 1"], ["driver", "worker 2"], ["driver"]]


def test_what_else_there_is_stays_in_the_driver():
    said = script("""
        import io, logging

        class Own(logging.Handler):
            def emit(self, record):
                print("own", record.getMessage())

        class Locked(logging.Formatter):
            lock = threading.Lock()

            def __init__(self):
                super().__init__()
                self.mine = threading.Lock()

        locked = logging.StreamHandler(sys.stdout)
        locked.setFormatter(Locked())
        logging.basicConfig(level="INFO", handlers=[Own(), locked, logging.StreamHandler(io.StringIO())])
        logger.enable("dagflow")
        logger.remove()
        logger.configure(extra={"lock": threading.Lock()})
        kept = []
        logger.add(kept.append)
        logger.add(Own())
        logger.add(io.StringIO())

        def says(x):
            logging.getLogger("name").info("info %d", x)
            logger.info("info {}", x)
            return logging.root.handlers, len(logger._core.handlers)

        results(says, [1])
        logging.info("driver")
        print([line.split("(TypeError")[0].split("goes ")[1] for line in kept])
    """)
    why = ["without <StreamHandler <stdout> (NOTSET)> ", "without loguru's extra "]
    assert said[-4:] == ["([], 0)", "own driver", "driver", str(why)]
    assert [line.split("goes ")[1].split("(TypeError")[0] for line in said[:-4]] == why, "Own is one of loguru's sinks"


def test_what_cannot_be_set_up_in_a_worker_is_said():
    said = script("""
        import logging, os

        class There(logging.Formatter):
            def __setstate__(self, state):
                raise RuntimeError("only in the driver")

        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(There())
        logging.basicConfig(level="INFO", handlers=[handler])
        os.dup2(1, 2)

        def says(x):
            return len(logging.root.handlers)

        results(says, [1])
    """)
    assert said == ["dagflow: not logging as the driver does here: RuntimeError: only in the driver", "0"]


def test_where_nothing_is_set_up_nothing_is_loaded():
    said = script("""
        logger.info("to stderr")

        def loaded(x):
            return {"loguru", "dagflow.work.logs"} & sys.modules.keys()

        results(loaded, [1])
    """)
    assert said == ["set()"]


# -- loguru -------------------------------------------------------------------------------------------------


def test_the_sinks_of_loguru(tmp_path):
    said = script(f"""
        logger.remove()
        logger.add({str(tmp_path / "plain.log")!r}, format="{{message}} {{extra[who]}}", mode="w")
        logger.add({str(tmp_path / "a{{b}}{time:YYYY}.log")!r}, format="{{message}}", enqueue=True)
        logger.add(sys.stdout, format="out {{message}}", level="WARNING")
        logger.add(lambda line: print("called", line, end="", flush=True), format="{{message}}", level="ERROR")
        logger.configure(extra={{"who": "nobody"}})
        bound = logger.bind(who="bound")

        def says(x):
            logger.info("info {{}}", x)
            bound.warning("warning {{}}", x)
            bound.error("error {{}}", x)

        results(says, [1])
        results(says, [2])
        bound.info("the driver")
        logger.complete()
    """)
    texts = [f"{level} {x}" for x in (1, 2) for level in ("info", "warning", "error")]
    assert sorted(said) == sorted(
        [*(f"out {text}" for text in texts if "info" not in text), "called error 1", "called error 2", "None", "None"]
    )
    assert lines_of(tmp_path / "plain.log") == [
        f"{text} {'nobody' if 'info' in text else 'bound'}" for text in texts
    ] + ["the driver bound"]
    [other] = tmp_path.glob("a{b}*.log")
    assert sorted(lines_of(other)) == sorted([*texts, "the driver"])


def test_workers_follow_a_file_of_loguru_that_the_driver_sets_aside(tmp_path):
    said = script(f"""
        logger.remove()
        logger.add({str(tmp_path / "x.log")!r}, format="{{message}}", rotation=lambda line, file: "driver" in line)
        gone = threading.Event()

        def says(x):
            logger.info("worker {{}}", x)

        def tasks():
            yield 1
            gone.wait()
            yield 2

        for number, out in enumerate(Graph(TaskManager(says, name="n")).stream(tasks()), 1):
            logger.info("driver {{}}", number)
            gone.set()
    """)
    assert said == []
    found = sorted(lines_of(path) for path in tmp_path.glob("x*.log"))
    assert found == [["driver 1", "worker 2"], ["driver 2"], ["worker 1"]]


def test_modules_that_workers_import_log_to_the_same_sinks(tmp_path):
    (tmp_path / "chatty.py").write_text(
        "from loguru import logger\n\n\ndef says(x):\n    logger.info('module {}', x)\n    return x\n"
    )
    said = script(f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import chatty
        logger.remove()
        logger.add(sys.stdout, format="{{level}} {{message}}")
        results(chatty.says, [1])
    """)
    assert said == ["INFO module 1", "1"]


def test_sinks_that_a_module_adds_as_it_is_imported_are_there_once(tmp_path):
    (tmp_path / "chatty.py").write_text(
        "import sys\nfrom loguru import logger\nlogger.remove()\nlogger.add(sys.stdout, format='own {message}')\n"
        "def says(x):\n    logger.info('module {}', x)\n"
    )
    said = script(f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import chatty
        logger.add(sys.stdout, format="script {{message}}")
        results(chatty.says, [1])
    """)
    assert said == ["own module 1", "script module 1", "None"]


def test_a_logger_that_was_silenced_is_silent_in_workers():
    said = script("""
        logger.remove()

        def says(x):
            logger.error("nobody reads this")
            return len(logger._core.handlers)

        results(says, [1])
    """)
    assert said == ["0"]


def test_levels_and_extras_go_along_without_a_sink_of_the_users():
    said = script("""
        logger.level("NOTE", no=27)
        logger.configure(extra={"who": "me"})

        def says(x):
            logger.log("NOTE", "to stderr")
            found = []
            logger.add(lambda line: found.append(line.record["extra"]["who"]))
            logger.info("to the list")
            return found, len(logger._core.handlers)

        results(says, [1])
    """)
    assert said == ["(['me'], 2)"]
