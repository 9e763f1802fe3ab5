"""What a reader of a topic may hold in memory."""

import pytest

from infra.runtime.kafka.consumer import queue_kbytes


@pytest.mark.parametrize("partitions", [1, 3, 12, 256])
def test_the_queues_of_all_partitions_together_stay_within_sixteen_megabytes(partitions: int) -> None:
    assert partitions * queue_kbytes(partitions) <= 16 * 1024
    assert queue_kbytes(partitions) >= 64
