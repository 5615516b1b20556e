"""What is asked: one file a task."""

from vitrail.tasks.classify import Classify, ClassifyConfig
from vitrail.tasks.segment import Segment, SegmentConfig

Task = Classify | Segment
TaskConfig = ClassifyConfig | SegmentConfig

TASKS: dict[str, type[TaskConfig]] = {"classify": ClassifyConfig, "segment": SegmentConfig}
"""The tasks, by the name that their configs carry."""
