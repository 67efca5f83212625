"""The floors stay apart: a room imports only from floors below, or from a room before it on its own floor."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "headstart"

# One row a floor, from the ground up; on a floor, rooms stand in the order in which they may see each other.
FLOORS = [
    [
        "errors",
        "interrupt",
        "voice",
        "units",
        "start_names",
        "record",
        "cache",
        "plan",
        "settings",
        "protocol",
        "declaration",
        "question",
        "verdict",
        "report",
    ],
    ["parts", "data"],
    [
        "features",
        "state",
        "loop",
        "many_heads",
        "survey",
        "machine",
        "phases",
        "build",
        "checkpoint",
        "model_folder",
        "watch",
        "evidence",
        "gallery",
    ],
    ["scribe", "judgement", "run", "run_heads", "jobs"],
    [
        "eta",
        "progress",
        "ailments",
        "engines",
        "search",
        "arms",
        "winner",
        "leftovers",
        "study",
        "twins",
        "forecast",
        "use",
    ],
    ["terminal", "flags", "api", "__init__", "cli", "__main__"],
]
PLACE = {room: (floor, index) for floor, rooms in enumerate(FLOORS) for index, room in enumerate(rooms)}
NO_TORCH = [
    "errors",
    "interrupt",
    "voice",
    "units",
    "start_names",
    "record",
    "cache",
    "plan",
    "settings",
    "protocol",
    "declaration",
    "question",
    "verdict",
    "report",
    "data",
    "eta",
    "progress",
    "ailments",
    "cli",
    "flags",
    "terminal",
]
DRAWERS = {"utils", "helpers", "common", "base", "misc", "core"}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Modules that a file imports; with lazy=False only those that importing the file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in ast.walk(f)
    }
    checks = {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
        for n in ast.walk(i)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if not lazy and (id(node) in inner or id(node) in checks):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files() -> list[Path]:
    found = sorted(SOURCE.rglob("*.py"))
    assert len(found) > 30  # a wrong path must not make this suite pass
    return found


def test_every_room_has_a_place() -> None:
    assert {room_of(p) for p in files()} == set(PLACE)


def test_imports_go_down_or_back() -> None:
    wrong = []
    for path in files():
        here = room_of(path)
        for name in imports(path, lazy=True):
            parts = name.split(".")
            if parts[0] != "headstart" or len(parts) < 2 or parts[1] not in PLACE:
                continue
            there = parts[1]
            if there == here or here == "__init__":
                continue
            (floor, index), (other_floor, other_index) = PLACE[here], PLACE[there]
            if not (other_floor < floor or (other_floor == floor and other_index < index)):
                wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert wrong == []


def test_nothing_imports_the_command_line() -> None:
    asking = [p.stem for p in files() if any(name.startswith("headstart.cli.main") for name in imports(p, lazy=True))]
    assert asking == ["__main__"]  # the door of the house itself


def test_these_rooms_import_no_torch() -> None:
    heavy = ("torch", "torchvision", "timm")
    wrong = [
        f"{p.relative_to(SOURCE)} imports {name}"
        for p in files()
        if room_of(p) in NO_TORCH
        for name in imports(p, lazy=False)
        if name.split(".")[0] in heavy
    ]
    assert wrong == []


def test_parts_never_see_a_plan() -> None:
    wrong = [
        p
        for p in files()
        if room_of(p) == "parts" and any("headstart.config.run_config" in n for n in imports(p, lazy=True))
    ]
    assert wrong == []


def test_no_drawers() -> None:
    assert [p for p in files() if p.stem in DRAWERS] == []


def test_type_checkers_find_our_types() -> None:
    assert (SOURCE / "py.typed").is_file()
