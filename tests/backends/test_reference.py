"""Random graphs on real workers must say what a naive interpreter says: outcomes, values, order and counts."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagflow.testing.graphs import random_graph

sys.path.insert(0, str(Path(__file__).parent.parent))
from reference import Reference, comparable

MODES = ("serial", "thread", "process", "async")
EXAMPLES = {"serial": 150, "thread": 60, "process": 25}
pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("backend", EXAMPLES)
def test_a_random_graph_gives_the_outcomes_of_the_reference(backend):
    @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(seed=st.integers(0, 1_000_000), most=st.sampled_from([None, 1, 3]))
    def agrees(seed, most):
        chance = random.Random(seed)
        graph = random_graph(chance.randrange, modes=MODES, most_nodes=8)
        tasks = [chance.randrange(1000) for _ in range(chance.randrange(12))]
        reference = Reference(graph, tasks)
        result = graph.run(tasks, backend, max_in_flight=most)
        assert comparable(result) == (reference.outcomes(), reference.counts)

    agrees()
