"""What is asked: one file a task."""

from vitrail.tasks.classify import Classify, ClassifyConfig

Task = Classify
TaskConfig = ClassifyConfig

TASKS: dict[str, type[TaskConfig]] = {"classify": ClassifyConfig}
"""The tasks, by the name that their configs carry."""
