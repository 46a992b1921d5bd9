"""The chain of the seed: stages one after the other, in this process or each in processes of its own."""

from __future__ import annotations

from dagflow import TaskManager, TaskTree

tree = TaskTree(
    stages=[TaskManager(lambda x: x + 1), TaskManager(lambda x: x * 2, execution_mode="thread")],
    logger=None,
)
tree.start_tree([1, 2, 3, 4])
print(tree.get_final_result_dict())

tree.set_tree_mode("process")
tree.start_tree([1, 2, 3, 4])
print(tree.get_final_result_dict())
