"""From a path to one canonical room name."""

import pytest

from syncd.room_names import MAX_NAME_BYTES, BadRoomName, room_from_path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/ws/a", "a"),
        (b"/ws/a/b", "a/b"),
        (b"/ws/a%2Fb", "a%2Fb"),
        (b"/ws/a%2fb", "a%2Fb"),
        (b"/ws/a%252Fb", "a%252Fb"),
        (b"/ws/a%b", "a%25b"),
        (b"/ws/a%25b", "a%25b"),
        (b"/ws/%C3%A4%20%C3%B6", "ä ö"),
        (b"/ws/a%CC%88", "a\u0308"),
        (b"/ws/A", "A"),
        (b"/ws/a/", "a/"),
        (b"/ws//a", "/a"),
        (b"/ws/a//b", "a//b"),
        (b"/ws/...", "..."),
        (b"/ws/{}:*", "{}:*"),
        (b"/ws/%3Fx%23", "?x#"),
        (b"/ws/" + b"a" * MAX_NAME_BYTES, "a" * MAX_NAME_BYTES),
        ("/ws/漢".encode(), "漢"),
    ],
)
def test_names(path: bytes, name: str) -> None:
    assert room_from_path(path, b"/ws/") == name


@pytest.mark.parametrize(
    "path",
    [
        b"/ws/", b"/ws//", b"/ws/.", b"/ws/..", b"/ws/a/../b", b"/ws/%2e%2e", b"/ws/%2E/a", b"/ws/a%00", b"/ws/%0a",
        b"/ws/%7f", b"/ws/%C2%85", b"/ws/%ff", b"/ws/%C3",
        b"/ws/" + b"a" * (MAX_NAME_BYTES + 1), b"/ws/" + b"%25" * 200,
    ],
)  # fmt: skip
def test_names_that_are_refused(path: bytes) -> None:
    with pytest.raises(BadRoomName):
        room_from_path(path, b"/ws/")


def test_paths_that_differ_name_rooms_that_differ() -> None:
    paths = [b"/a/b", b"/a%2Fb", b"/a%252Fb", b"/A/b", b"/a//b", b"/a/b/", b"/%61%2F%62c", b"/a\\b"]
    names = [room_from_path(path, b"/") for path in paths]
    assert len(set(names)) == len(names)
    assert room_from_path(b"/%61", b"/") == room_from_path(b"/a", b"/")
