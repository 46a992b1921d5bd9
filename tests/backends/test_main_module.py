"""What is written in a script or a notebook cell works in worker processes, which do not run the script."""

import pytest
from scripts_made import script

pytestmark = pytest.mark.timeout(60)


def test_functions_with_a_cache():
    lines = script("""
        @functools.cache
        def fibonacci(n):
            return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

        @functools.lru_cache(maxsize=5, typed=True)
        def double(x):
            return 2 * x

        double.unit = "metres"

        class Table:
            @functools.lru_cache
            def cell(self, x):
                return -x

        def uses(x):
            return fibonacci(20 + x), fibonacci.cache_info().currsize

        def says(x):
            return double(x), double.unit, double.cache_parameters(), double.__name__, double.__wrapped__(x)

        def made(x):
            return functools.cache(lambda y: x + y)

        results(fibonacci)
        results(uses)
        results(says, [1])
        results(Table().cell)
        results(functools.partial(double))
        results(made(7))
        results(functools.lru_cache(functools.partial(operator.add, 3)))
    """)
    assert lines == [
        *("1", "1"),
        *("(10946, 22)", "(17711, 23)"),
        "(2, 'metres', {'maxsize': 5, 'typed': True}, 'double', 2)",
        *("-1", "-2", "2", "4", "8", "9", "4", "5"),
    ]


def test_a_cache_of_an_importable_module_is_that_modules_own():
    lines = script("""
        from dagflow.journal.fingerprint import _read

        def same(x):
            return _read is sys.modules["dagflow.journal.fingerprint"]._read

        results(same, [1])
    """)
    assert lines == ["True"]


def test_generic_functions_and_cached_properties():
    lines = script("""
        @functools.singledispatch
        def sign(x):
            return "?"

        @sign.register
        def _(x: int):
            return -x

        sign(1), sign("a")  # it remembers which function it took

        class Item:
            def __init__(self, x):
                self.x = x

            @functools.cached_property
            def double(self):
                return 2 * self.x

            @functools.singledispatchmethod
            def plus(self, y):
                return "?"

            @plus.register
            def _(self, y: int):
                return self.x + y

        def uses(x):
            item = Item(x)
            return item.double, item.__dict__["double"], item.plus(3), item.plus("a")

        results(sign, [1, "a"])
        results(uses)
        print(*(v.double for v in Graph(TaskManager(lambda x: Item(x), name="n")).run([6], "process").values))
    """)
    assert lines == ["-1", "?", "(2, 2, 4, '?')", "(4, 4, 5, '?')", "12"]


def test_classes_with_slots():
    """There and back: instances are the script's own class again, and have no `__dict__` anywhere."""
    lines = script("""
        import abc, dataclasses, typing

        @dataclasses.dataclass(slots=True)
        class Point:
            x: int
            tags: list = dataclasses.field(default_factory=list)

        @dataclasses.dataclass(slots=True, frozen=True, order=True)
        class Fixed:
            x: int

        class Plain:
            __slots__ = ("x", "__weakref__")
            def __init__(self, x):
                self.x = x

        class Below(Plain):
            __slots__ = ("y",)

        class Open(Plain):
            pass

        class One:
            __slots__ = "x"
            def __init__(self, x):
                self.x = x

        class Told:
            __slots__ = {"x": "what it is"}
            def __init__(self, x):
                self.x = x

        class Private:
            __slots__ = ["__x"]
            def __init__(self, x):
                self.__x = x
            x = property(lambda self: self.__x)

        class Kind(abc.ABC, typing.Generic[typing.TypeVar("T")]):
            __slots__ = ("x", "me")
            def __init__(self, x):
                self.x, self.me = x, self

        class Named(typing.NamedTuple):
            x: int
            def double(self):
                return 2 * self.x

        class Number(int):
            __slots__ = ()
            x = property(int)

        def making(kind):
            return lambda x: kind(x)

        def look(value):
            return type(value).__name__, value.x, hasattr(value, "__dict__")

        for kind in (Point, Fixed, Plain, Below, Open, One, Told, Private, Kind, Named, Number):
            [made] = (TaskManager(making(kind), name="made") >> TaskManager(lambda v: v, name="same")).run([3]).values
            [seen] = Graph(TaskManager(look)).run([kind(3)]).values
            print(type(made) is kind, look(made) == look(kind(3)) == seen, look(kind(3)))
    """)
    assert lines == [
        f"True True ('{kind}', 3, {kind == 'Open'})"
        for kind in ["Point", "Fixed", "Plain", "Below", "Open", "One", "Told", "Private", "Kind", "Named", "Number"]
    ]


def test_what_a_thread_has_for_itself_a_process_has_too():
    lines = script("""
        here = threading.local()
        here.seen = ["in the script"]
        table = WeakKeyDictionary()

        def seen(x):
            if not hasattr(here, "seen"):
                here.seen = []
            here.seen.append(x)
            return here.seen

        results(seen)
        results(lambda x: (len(table), type(table).__name__), [1])
    """)
    assert lines == ["[1]", "[1, 2]", "(0, 'WeakKeyDictionary')"]


@pytest.mark.parametrize("made", ["threading.Lock()", "threading.Event()"])
def test_what_must_be_shared_is_refused_with_a_reason(made):
    lines = script(f"""
        shared = {made}

        def uses(x):
            return bool(shared)

        results(uses, [1])
    """)
    assert "the function of node 'n' cannot travel to a worker process" in lines[0]
    assert "_thread.lock" in lines[0]
    assert 'or run the graph with backend="thread"' in lines[0]


def test_what_travels_by_a_name_that_no_worker_finds_is_named():
    lines = script("""
        class Named:
            def __reduce__(self):
                return "named"

            def __call__(self, x):
                return x

        named = Named()
        try:
            results(lambda x: named(x))
        except Exception as error:
            print(type(error).__name__, str(error).replace("\\n", " "))
    """)
    assert "BackendError workers of node 'n' cannot start" in lines[0]
    assert "Can't get attribute 'named' on <module '__main__'" in lines[0]
    assert "Put it into a module that the workers can import" in lines[0]
