"""Hold the rules of the package: which wing may import which, no circle, rooms of a readable size."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import pi_cam_daemon

PACKAGE = Path(pi_cam_daemon.__file__).parent
ROOT = PACKAGE.parent

# Each wing, ground first, and the wings that its modules may import. A name without a folder is a single module.
WINGS: dict[str, set[str]] = {
    "errors": set(),
    "system": {"errors"},
    "config": {"errors", "system"},
    "ipc": {"errors", "config"},
    "imaging": {"errors", "config"},
    "clips": {"errors"},
    "camera": {"errors", "system", "config", "ipc", "imaging"},
    "core": {"errors", "system", "config", "ipc", "imaging"},
    "server": {"errors", "system", "config", "ipc", "clips", "core"},
    "mqtt": {"errors", "system", "config", "ipc", "clips", "core", "server"},
    "recording": {"errors", "system", "config", "imaging", "clips"},
    "push": {"errors", "system", "config", "clips"},
    "boot": {"errors", "system", "config"},
    "commands": {"errors", "system", "config", "ipc", "imaging", "camera", "core", "server", "boot"},
    "configuring": {"errors", "system", "config", "core", "server"},
    "daemon": {"errors", "system", "config", "core", "server", "mqtt", "configuring"},
    "cli": {
        "errors",
        "system",
        "config",
        "ipc",
        "imaging",
        "camera",
        "core",
        "server",
        "recording",
        "push",
        "boot",
        "commands",
        "daemon",
    },
    "__main__": {"cli"},
}
FOLDERS = [wing for wing in WINGS if (PACKAGE / wing).is_dir()]
# A picture goes through these, from the driver to the viewer; docs/develop.md lists them.
FRAME_PATH = (
    "camera/v4l2", "camera/usb", "camera/source", "imaging/known", "camera/process", "camera/sender", "ipc/slots",
    "ipc/parts", "ipc/protocol", "core/link", "core/frame", "core/latest", "server/streams", "server/audience",
    "server/viewer", "core/supervisor", "core/health", "daemon",
)  # fmt: skip


def name_of(path: Path) -> str:
    """Return the module's name relative to the package: `core.latest`, `core` for a wing, "" for the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


TREES = {name_of(path): ast.parse(path.read_bytes(), path.name) for path in sorted(PACKAGE.rglob("*.py"))}


def wing(module: str) -> str:
    return module.partition(".")[0]


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield every import in *node*, those inside functions too, but not those for type checkers only."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for child in node.orelse:
            yield from statements(child)
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from statements(child)


def imported(tree: ast.AST, known: set[str], package: str = "pi_cam_daemon") -> set[str]:
    """Return the modules out of *known* that *tree* imports. `from a import b` counts as a.b where that is a module.

    Relative imports are an error: the code uses none.
    """
    found = set()
    for node in statements(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
        else:
            full = {alias.name for alias in node.names}
        ours = {name.removeprefix(package).removeprefix(".") for name in full if name.split(".")[0] == package}
        found |= {name for name in ours if name and name in known}
        # a name inside a module: the module
        found |= {name.rpartition(".")[0] for name in ours if name not in known and name.rpartition(".")[0] in known}
    return found - {""}


IMPORTS = {module: imported(tree, set(TREES)) for module, tree in TREES.items()}


def reached(module: str) -> set[str]:
    """Return every module that *module* imports, directly or through others."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        for target in IMPORTS[todo.pop()] - seen:
            seen.add(target)
            todo.append(target)
    return seen


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = graph[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    reaches = {node: reach(node) for node in graph}
    groups = {frozenset(other for other in graph if other in reaches[n] and n in reaches[other]) for n in graph}
    return sorted(sorted(group) for group in groups if group)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import pi_cam_daemon.core.latest", {"core.latest"}),
        ("from pi_cam_daemon.core import latest", {"core.latest", "core"}),
        ("from pi_cam_daemon.core.latest import LatestFrame", {"core.latest"}),
        ("from pi_cam_daemon import errors, __version__", {"errors"}),
        ("def f():\n    from pi_cam_daemon.core.latest import LatestFrame", {"core.latest"}),
        ("if TYPE_CHECKING:\n    from pi_cam_daemon.core.latest import LatestFrame", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from pi_cam_daemon.core.latest import LatestFrame", {"core.latest"}),
        ("from other.core.latest import LatestFrame", set()),
    ],
)
def test_the_walk_sees_every_form_of_import(text: str, expected: set[str]) -> None:
    assert imported(ast.parse(text), {"core", "core.latest", "errors"}) == expected


def test_a_circle_is_seen_through_a_third_module() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"a"}}) == [["a"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_every_module_is_in_a_wing() -> None:
    assert {wing(module) for module in TREES if module} == set(WINGS)


def test_no_module_imports_from_a_wing_that_it_may_not() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in targets
        if wing(target) != wing(module) and wing(target) not in WINGS.get(wing(module), set())
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("start", "forbidden"),
    [
        ("camera", {"core", "server", "boot", "commands", "daemon", "cli"}),
        ("core", {"camera", "server", "mqtt", "boot", "commands", "daemon", "cli"}),
        ("server", {"camera", "mqtt", "boot", "commands", "daemon", "cli"}),
        (
            "push",
            {"ipc", "imaging", "camera", "core", "server", "mqtt", "recording", "boot", "commands", "daemon", "cli"},
        ),
        ("recording", {"ipc", "camera", "core", "server", "mqtt", "boot", "commands", "daemon", "cli"}),
        ("boot", {"ipc", "imaging", "camera", "core", "server", "commands", "daemon", "cli"}),
    ],
)
def test_no_wing_reaches_a_forbidden_one_through_others(start: str, forbidden: set[str]) -> None:
    modules = [module for module in TREES if wing(module) == start]
    wrong = [f"{m} reaches {t}" for m in modules for t in sorted(reached(m)) if wing(t) in forbidden]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(IMPORTS) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_wing_opens_with_its_table_of_contents(folder: str) -> None:
    """The docstring of a wing's `__init__.py` names each module in it once, as `name.py` at the start of a line."""
    listed = re.findall(r"^(\w+)\.py\b", ast.get_docstring(TREES[folder]) or "", re.MULTILINE)
    there = sorted(path.stem for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")
    assert sorted(listed) == there
    assert len(TREES[folder].body) == 1, "an __init__.py holds its docstring and nothing else"


def test_no_room_is_longer_than_400_lines() -> None:
    lines = {name: len((PACKAGE / f"{name}").read_text().splitlines()) for name in map(str, rooms())}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def rooms() -> Iterator[Path]:
    return (path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))


def test_the_path_of_a_frame_can_be_read_in_one_sitting() -> None:
    assert sum(len((PACKAGE / f"{name}.py").read_text().splitlines()) for name in FRAME_PATH) < 3000
    document = (ROOT / "docs/develop.md").read_text()
    assert [name for name in FRAME_PATH if f"{name}.py" not in document] == []


def test_every_wing_is_in_the_wheel() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert sorted(packages) == sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)


# -- which module may use what


def users(*libraries: str) -> set[str]:
    """Return the modules that import one of *libraries*, which are not ours."""
    return {
        module
        for module, tree in TREES.items()
        for node in statements(tree)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.partition(".")[0] in libraries
    }


def calls(tree: ast.AST, module: str, function: str) -> bool:
    """Return whether *tree* uses module.function, or takes it out of the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == function:
            if isinstance(node.value, ast.Name) and node.value.id == module:
                return True
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            if any(alias.name in (function, "*") for alias in node.names):
                return True
        elif isinstance(node, ast.Import) and any(alias.name == module and alias.asname for alias in node.names):
            return True
    return False


def callers(module: str, function: str) -> set[str]:
    return {name for name, tree in TREES.items() if calls(tree, module, function)}


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield every string in *tree*, those in f-strings too, but no docstring."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize(
    "text", ["signal.signal(1, f)", "x = signal.signal", "from signal import signal", "import signal as s"]
)
def test_the_walk_sees_every_way_to_a_function(text: str) -> None:
    assert calls(ast.parse(text), "signal", "signal")
    assert not calls(ast.parse("import signal; signal.pause()"), "signal", "signal")


def test_the_walk_reads_strings_but_not_docstrings() -> None:
    tree = ast.parse('"""LISTEN_FDS: explained."""\nx = os.environ["A"] + f"B{x}"')
    assert set(strings(tree)) == {"A", "B"}


def test_only_the_csi_modules_import_the_camera_stack() -> None:
    modules = {f"camera.csi{name}" for name in ("", "_drawing", "_encoders", "_picamera2", "_small")}
    assert users("picamera2", "libcamera") == modules


def test_only_the_camera_and_what_draws_use_pixels() -> None:
    drawing = {
        f"imaging.{name}" for name in ("no_signal", "lettering", "hangul", "orientation", "overlay", "shrink", "grey")
    }
    assert {module for module in users("cv2", "numpy", "PIL") if wing(module) != "camera"} <= drawing


def test_only_the_server_knows_http_requests() -> None:
    assert users("socketserver") | callers("http", "server") <= {"server.listener", "server.exchange"}


def test_only_the_mains_of_the_processes_install_signals() -> None:
    assert callers("signal", "signal") == {"daemon", "camera.process", "recording.recorder", "push.pusher"}


def test_the_wall_clock_is_read_only_where_a_date_or_a_time_is_shown() -> None:
    """An age or an interval uses the monotonic clock: a Pi's wall clock may jump by years."""
    readers = {
        "core.overdue",  # X-Timestamp of the no-signal picture
        "core.events",  # when something happened
        "imaging.exif",  # when a picture was taken
        "ipc.slots",  # X-Timestamp of a picture
        "imaging.overlay",  # the time in the picture
        "server.metrics",  # when this process began
        "camera.pattern",  # the clock in the test picture
        "server.report",  # when the configuration was read
        "commands.support",  # the files' dates
        "commands.pull",  # when it checked
        "recording.timelapse",  # pictures at times of the day
    }
    assert callers("time", "time") <= readers
    assert not users("datetime")
    assert not callers("time", "time_ns")


def test_only_the_systemd_module_reads_the_variables_of_systemd() -> None:
    names = re.compile(r"NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|LISTEN_(FDS|PID|FDNAMES)|RUNTIME_DIRECTORY")
    readers = {module for module, tree in TREES.items() if any(map(names.search, strings(tree)))}
    assert readers == {"system.systemd"}


# -- words


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the first line of each docstring in the file at *path*."""
    for node in ast.walk(ast.parse(path.read_bytes(), path.name)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text.splitlines()[0]


def test_a_docstring_says_what_a_thing_does() -> None:
    """A docstring begins with a verb or a noun, not with a clause: "Return the size", not "What size it is"."""
    files = [path for folder in ("pi_cam_daemon", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")]
    clause = re.compile(r"(What|Who|Whom|Whose|Whether|Where|How)\b")
    assert [f"{place}: {text}" for path in files for place, text in documented(path) if clause.match(text)] == []


def test_the_name_of_a_test_has_at_most_80_characters() -> None:
    name = re.compile(r"def (test_\w{76,})")
    assert [found for path in (ROOT / "tests").rglob("*.py") for found in name.findall(path.read_text())] == []


def test_every_failure_of_a_camera_has_the_values_that_another_language_needs() -> None:
    """The page knows cause and values only; an error with neither a value nor a mapping of them has just English."""
    documented = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "integrations.md").read_text("utf-8"), re.MULTILINE)
    )
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SourceError":
                names = {keyword.arg for keyword in node.keywords} - {"hint", "cause"}
                if wing(module) == "camera":
                    assert names, f"{module}:{node.lineno}"
                assert names - {None} <= documented, f"{module}:{node.lineno}"
