"""What a node may be told, what it refuses and in which words, and that it is a value."""

from __future__ import annotations

import copy
import os
import pickle

import pytest
from graph_made import same

import dagflow
from dagflow import DROP, Graph, GraphError, Merger, Router, Splitter, TaskManager


async def coroutine(value):
    raise NotImplementedError


def refused(kind, error, *parts):
    """A context that wants ``error`` whose message holds all ``parts``."""
    return pytest.raises(error, match="(?s)" + "".join(f"(?=.*{part})" for part in parts))


class TestDefaults:
    def test_options_have_the_defaults_of_the_contract(self):
        node = TaskManager(same)
        assert (node.execution_mode, node.max_retries, node.retry_delay, node.retry_max_delay) == ("serial", 3, 0.1, 30)
        assert node.retry_types() == (TimeoutError, ConnectionError)
        assert (node.timeout, node.rate_limit, node.batch_size, node.unpack, node.version) == (None,) * 5
        assert (node.deduplicate, node.show_progress, node.progress_desc) == (False, False, None)

    @pytest.mark.parametrize(
        ("mode", "width"),
        [
            ("serial", 1),
            ("thread", min(32, (os.cpu_count() or 1) + 4)),
            ("process", os.cpu_count() or 1),
            ("async", 100),
        ],
    )
    def test_each_mode_has_its_default_width(self, mode, width):
        assert TaskManager(same, mode).width() == width
        assert Graph(TaskManager(same, mode)).check().nodes[0].width == width

    def test_worker_limit_sets_the_width(self):
        assert TaskManager(same, "thread", 7).width() == 7

    def test_the_four_kinds_take_the_same_options(self):
        options = {"name": "n", "timeout": 2, "rate_limit": 5, "retry_delay": 0, "retry_max_delay": 1, "version": "2"}
        made = [
            TaskManager(same, "thread", 2, 1, **options),
            Splitter(same, "thread", 2, 1, **options),
            Router(same, None, "thread", 2, 1, **options),
            Merger(same, execution_mode="thread", worker_limit=2, max_retries=1, **options),
        ]
        for node in made:
            assert (node.name, node.execution_mode, node.width(), node.max_retries) == ("n", "thread", 2, 1)
            assert (node.timeout, node.rate_limit, node.retry_delay, node.version) == (2.0, 5.0, 0.0, "2")

    def test_options_reach_the_plan(self):
        node = TaskManager(same, "thread", 2, 5, timeout=3, rate_limit=4, batch_size=6, deduplicate=True, name="n")
        plan = Graph(node).check().node_named("n")
        assert (plan.mode, plan.width, plan.max_retries, plan.timeout) == ("thread", 2, 5, 3.0)
        assert (plan.rate_limit, plan.batch_size, plan.deduplicate) == (4.0, 6, True)
        assert (plan.retry_delay, plan.retry_max_delay) == (0.1, 30.0)

    def test_a_key_function_deduplicates(self):
        assert Graph(TaskManager(same, deduplicate=str)).check().nodes[0].deduplicate

    def test_no_node_of_that_name_in_the_plan_is_a_key_error(self):
        with pytest.raises(KeyError, match="other"):
            Graph(TaskManager(same)).check().node_named("other")


class TestNames:
    @pytest.mark.parametrize(
        ("node", "name"),
        [
            (TaskManager(same), "same"),
            (TaskManager(same, name="n"), "n"),
            (Splitter(), "split"),
            (Splitter(name="n"), "n"),
            (Splitter(same), "same"),
            (Router({"x": bool}), "route"),
            (Router({"x": bool}, name="n"), "n"),
            (Router(same), "same"),
            (Merger(fold=(max, 0)), "merge"),
            (Merger(fold=(max, 0), name="n"), "n"),
            (Merger(len, fold=(max, 0)), "len"),
        ],
    )
    def test_a_node_is_named_by_name_or_function_or_kind(self, node, name):
        assert node.name == name
        assert (node.explicit_name is None) == (name != "n")

    def test_repr_says_kind_name_and_a_mode_that_is_not_serial(self):
        assert repr(TaskManager(same)) == "TaskManager(same)"
        assert repr(Splitter(execution_mode="process")) == "Splitter(split, 'process')"

    @pytest.mark.parametrize("name", ["", 3])
    def test_a_name_is_a_text(self, name):
        with refused(TaskManager, ValueError, "name", "non-empty text", repr(name)):
            TaskManager(same, name=name)


class TestRefused:
    @pytest.mark.parametrize("kind", [TaskManager, Splitter, Router, Merger])
    def test_a_node_needs_a_callable(self, kind):
        with refused(kind, TypeError, kind.__name__, r"needs a callable, not 5 \(int\)", "give it a function"):
            kind(5)

    @pytest.mark.parametrize("nothing", [0, "", [], ()])
    @pytest.mark.parametrize("kind", [TaskManager, Splitter, Router, Merger])
    def test_a_false_value_is_no_function_either(self, kind, nothing):
        with refused(kind, TypeError, kind.__name__, "needs a callable"):
            kind(nothing)

    @pytest.mark.parametrize("kind", [Splitter, Merger])
    def test_a_callable_object_that_is_false_is_still_the_function(self, kind):
        class Rows:
            def __len__(self):
                return 0

            def __call__(self, value):
                raise NotImplementedError

        rows = Rows()
        assert kind(rows).func is rows

    def test_a_mode_is_one_of_four(self):
        with refused(TaskManager, ValueError, "'n'", "'fork'", "'serial', 'thread', 'process', 'async'"):
            TaskManager(same, "fork", name="n")

    @pytest.mark.parametrize(
        ("option", "value", "bound"),
        [
            ("worker_limit", 0, "whole number of at least 1"),
            ("worker_limit", 1.5, "whole number of at least 1"),
            ("worker_limit", True, "whole number of at least 1"),
            ("max_retries", -1, "whole number of at least 0"),
            ("max_retries", "3", "whole number of at least 0"),
            ("batch_size", 0, "whole number of at least 1"),
            ("retry_delay", -0.1, "number not negative"),
            ("retry_max_delay", float("nan"), "number not negative"),
            ("timeout", 0, "number more than 0"),
            ("timeout", "1", "number more than 0"),
            ("timeout", True, "number more than 0"),
            ("rate_limit", float("inf"), "number more than 0"),
            ("rate_limit", -1, "number more than 0"),
            ("deduplicate", "yes", "True, False or a key function"),
            ("retry_exceptions", [ValueError, "x"], "not an exception type"),
            ("retry_exceptions", int, "not an exception type"),
            ("retry_exceptions", None, "exception type"),
            ("retry_exceptions", 5, "exception type"),
        ],
    )
    def test_a_bad_value_is_refused_with_node_option_and_bound(self, option, value, bound):
        with refused(TaskManager, ValueError, "node 'n'", option, bound):
            TaskManager(same, name="n", **{option: value})

    @pytest.mark.parametrize("option", ["size", "within"])
    def test_windows_have_bounds_too(self, option):
        with refused(Merger, ValueError, "node 'n'", option, "not 0"):
            Merger(same, name="n", **{option: 0})

    @pytest.mark.parametrize("option", ["retry_delay", "max_retries"])
    def test_zero_is_allowed_where_it_means_something(self, option):
        assert getattr(TaskManager(same, **{option: 0}), option) == 0

    def test_a_splitter_and_a_router_take_no_batches(self):
        with refused(Splitter, ValueError, "Splitter takes no batch_size", "one task at a time"):
            Splitter(same, batch_size=2)
        with refused(Router, ValueError, "Router takes no batch_size", "one task at a time"):
            Router(same, batch_size=2)

    @pytest.mark.parametrize("option", [{"batch_size": 2}, {"deduplicate": True}])
    def test_a_merger_takes_no_batches_and_no_keys(self, option):
        with refused(Merger, ValueError, f"Merger takes no {next(iter(option))}", "put it on the node before"):
            Merger(same, **option)

    def test_a_merger_needs_a_function_or_a_fold(self):
        with refused(Merger, TypeError, "needs a function of the list of members", "fold="):
            Merger()

    @pytest.mark.parametrize("fold", [5, (max,), (0, max), [max, 0]])
    def test_a_fold_is_a_pair(self, fold):
        with refused(Merger, ValueError, r"fold must be \(function, initial\)"):
            Merger(fold=fold)

    def test_what_a_merger_is_of(self):
        with refused(Merger, ValueError, 'None, a node, "task" or "run"', "'all'"):
            Merger(same, "all")
        with refused(Merger, ValueError, '"fail" or "skip"', "'ignore'"):
            Merger(same, on_missing="ignore")

    @pytest.mark.parametrize("window", [{"size": 3}, {"within": 0.5}])
    def test_windows_and_scopes_do_not_mix(self, window):
        with refused(Merger, ValueError, "node 'm'", "size and within make windows", "not both"):
            Merger(same, "run", name="m", **window)

    def test_the_predicates_of_a_table_are_functions(self):
        with refused(Router, TypeError, "Router table", "label 'x'", "not callable: 5"):
            Router({"y": bool, "x": 5})

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Splitter(same, name="mine", batch_size=2),
            lambda: Router(same, name="mine", batch_size=2),
            lambda: Router({"x": 5}, name="mine"),
            lambda: Merger(same, name="mine", batch_size=2),
            lambda: Merger(name="mine"),
            lambda: Merger(fold=5, name="mine"),
            lambda: Merger(same, "all", name="mine"),
            lambda: Merger(same, on_missing="ignore", name="mine"),
            lambda: TaskManager(5, name="mine"),
        ],
    )
    def test_a_node_that_has_a_name_is_named_in_every_refusal(self, make):
        with pytest.raises((ValueError, TypeError), match="'mine'"):
            make()


class TestAsync:
    @pytest.mark.parametrize("mode", ["serial", "thread", "process"])
    def test_an_async_function_wants_the_async_mode(self, mode):
        with refused(TaskManager, GraphError, "node 'coroutine'", "is async", 'execution_mode="async"', repr(mode)):
            TaskManager(coroutine, mode)

    def test_the_async_mode_takes_both(self):
        assert TaskManager(coroutine, "async").width() == TaskManager(same, "async").width() == 100

    def test_a_bare_async_function_in_a_graph_is_refused_too(self):
        with refused(TaskManager, GraphError, "'coroutine'", 'execution_mode="async"'):
            TaskManager(same) >> coroutine

    @pytest.mark.parametrize("kind", [Splitter, Router, Merger])
    def test_the_hint_names_the_kind(self, kind):
        with refused(kind, GraphError, rf'write {kind.__name__}\(coroutine, execution_mode="async"\)'):
            kind(coroutine)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Router({"x": bool, "y": coroutine}),
            lambda: Merger(fold=(coroutine, 0)),
            lambda: TaskManager(same, deduplicate=coroutine),
        ],
        ids=["predicate", "fold", "key"],
    )
    def test_helpers_that_nobody_awaits_may_not_be_async(self, make):
        """A coroutine is always true: an async predicate would send every task to its branch, in silence."""
        with pytest.raises(GraphError, match="async"):
            make()


class TestRetryExceptions:
    def test_it_may_be_set_as_an_attribute_until_the_plan_is_made(self):
        node = TaskManager(same)
        assert Graph(node).check().nodes[0].retries_timeout
        node.retry_exceptions = (ValueError,)
        assert not Graph(node).check().nodes[0].retries_timeout

    def test_a_wrong_attribute_is_refused_when_the_plan_is_made(self):
        node = TaskManager(same, name="n")
        node.retry_exceptions = ["ValueError"]
        with refused(TaskManager, ValueError, "node 'n'", "retry_exceptions", "'ValueError'"):
            Graph(node).check()

    def test_a_single_type_and_a_list_will_do(self):
        assert TaskManager(same, retry_exceptions=ValueError).retry_types() == (ValueError,)
        assert TaskManager(same, retry_exceptions=[OSError, KeyError]).retry_types() == (OSError, KeyError)

    def test_types_given_by_a_generator_are_not_lost(self):
        node = TaskManager(same, retry_exceptions=(e for e in (OSError, KeyError)))
        assert node.retry_types() == node.retry_types() == (OSError, KeyError)

    def test_timeouts_are_retried_where_their_types_say_so(self):
        """`TaskTimeout` is a TimeoutError, which is among the defaults."""
        assert Graph(TaskManager(same)).check().nodes[0].retries_timeout
        assert Graph(TaskManager(same, retry_exceptions=dagflow.TaskTimeout)).check().nodes[0].retries_timeout
        assert not Graph(TaskManager(same, retry_exceptions=())).check().nodes[0].retries_timeout


class TestOverriding:
    def test_the_default_result_is_what_the_function_gave(self):
        assert TaskManager(same).process_result(1, "one") == "one"
        assert TaskManager(same).handle_error() is None

    @pytest.mark.parametrize("method", ["get_args", "process_result", "handle_error"])
    def test_a_subclass_or_an_instance_may_override(self, method):
        derived = type("Mine", (TaskManager,), {method: lambda self, *args: args})
        assert derived(same).overrides(method)
        node = TaskManager(same)
        assert not node.overrides(method)
        setattr(node, method, lambda *args: args)
        assert node.overrides(method)

    def test_a_subclass_keeps_its_own_attributes(self):
        class Mine(TaskManager):
            def __init__(self, func, table):
                super().__init__(func, name="mine")
                self.table = table

            def get_args(self, task):
                return (self.table[task],)

        assert (Mine(same, {"a": 1}) >> same).check().node_named("mine").kind == "task"
        assert Mine(same, {"a": 1}).get_args("a") == (1,)


class TestValues:
    def test_a_node_is_used_as_a_context(self):
        with TaskManager(same) as node:
            assert isinstance(node, TaskManager)
        node.shutdown_pools()

    def test_pickling_leaves_at_home_what_belongs_to_the_calling_process(self):
        node = TaskManager(len, "thread", 3, name="n", logger=object())
        node._last = lambda: "a result that cannot be pickled"
        node.logger = lambda: "nor can this"
        there = pickle.loads(pickle.dumps(node))
        assert (there.name, there.func, there.execution_mode, there.worker_limit) == ("n", len, "thread", 3)
        assert there.logger is None
        assert there._last is None

    @pytest.mark.parametrize(
        "node", [Splitter(), Router({"x": bool}, "x"), Merger(fold=(max, 0)), Merger(len, "run"), Merger(len, size=2)]
    )
    def test_every_kind_travels(self, node):
        there = pickle.loads(pickle.dumps(node))
        assert type(there) is type(node)
        assert there.name == node.name

    @pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda mark: pickle.loads(pickle.dumps(mark))])
    def test_drop_is_the_same_object_everywhere(self, make):
        assert make(DROP) is DROP
        assert make([DROP])[0] is DROP
        assert repr(DROP) == "DROP"

    def test_nodes_are_told_apart_by_identity(self):
        a, b = TaskManager(same), TaskManager(same)
        assert a != b
        assert len({a, b, a}) == 2

    @pytest.mark.parametrize("compare", ["__lt__", "__le__", "__gt__", "__ge__"])
    def test_nodes_have_no_order(self, compare):
        with refused(TaskManager, GraphError, "no order", "'n'", "write a >> b"):
            getattr(TaskManager(same, name="n"), compare)(TaskManager(same))
