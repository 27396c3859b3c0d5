"""A compaction that would leave a hole or an overlap cannot even be said."""

import pytest

from crdt.ids import RoomId
from persistence.api import BlockKind, Compaction, Quarantined, StoredBlock

POISON = Quarantined(12, "bad", "")


@pytest.mark.parametrize(
    ("kind", "covered", "block", "positions", "quarantined"),
    [
        ("segment", 0, StoredBlock(1, 12, b""), (10, 12), ()),
        ("segment", 9, StoredBlock(10, 12, b""), (10, 12), (POISON,)),
        ("segment", 9, None, (12,), (POISON,)),
        ("snapshot", 9, StoredBlock(1, 9, b""), (), ()),
    ],
)
def test_sound_steps(
    kind: BlockKind,
    covered: int,
    block: StoredBlock | None,
    positions: tuple[int, ...],
    quarantined: tuple[Quarantined, ...],
) -> None:
    change = Compaction(RoomId("room"), kind, 0, covered, block, positions, quarantined)
    assert change.block == block


@pytest.mark.parametrize(
    ("kind", "covered", "block", "positions", "quarantined"),
    [
        pytest.param("segment", 0, StoredBlock(10, 12, b""), (10, 12), (), id="hole before the block"),
        pytest.param("segment", 9, StoredBlock(9, 12, b""), (10, 12), (), id="overlap"),
        pytest.param("segment", 9, StoredBlock(10, 13, b""), (10, 12), (), id="covers more than it takes"),
        pytest.param("segment", 9, StoredBlock(10, 11, b""), (10, 12), (), id="takes more than it covers"),
        pytest.param("segment", 9, None, (10, 12), (POISON,), id="a good update vanishes"),
        pytest.param("segment", 9, None, (), (), id="nothing at all"),
        pytest.param(
            "segment", 9, StoredBlock(10, 11, b""), (10, 11), (POISON,), id="quarantines what it did not take"
        ),
        pytest.param("segment", 20, StoredBlock(21, 12, b""), (10, 12), (), id="covered already"),
        pytest.param("snapshot", 9, StoredBlock(2, 9, b""), (), (), id="not from the start"),
        pytest.param("snapshot", 9, StoredBlock(1, 10, b""), (), (), id="beyond the blocks"),
        pytest.param("snapshot", 9, StoredBlock(1, 9, b""), (10,), (), id="a snapshot takes no updates"),
        pytest.param("snapshot", 9, None, (), (), id="no snapshot"),
    ],
)
def test_unsound_steps_are_refused(
    kind: BlockKind,
    covered: int,
    block: StoredBlock | None,
    positions: tuple[int, ...],
    quarantined: tuple[Quarantined, ...],
) -> None:
    with pytest.raises(ValueError, match="does not cover what it takes"):
        Compaction(RoomId("room"), kind, 0, covered, block, positions, quarantined)
