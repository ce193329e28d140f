"""Who may import whom, read from the source: what keeps the server small and the camera in a process of its own."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pi_cam_daemon

PACKAGE = Path(pi_cam_daemon.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


TREES = {module_name(path): ast.parse(path.read_bytes(), path.name) for path in sorted(PACKAGE.rglob("*.py"))}
SOURCES = "pi_cam_daemon.sources"


def imports(tree: ast.AST, module: str, is_package: bool = False) -> set[str]:
    """All that is imported anywhere in *tree*, `from a import b` as both a and a.b, for b may be a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".") if is_package else module.split(".")[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def uses(module: str, *wanted: str) -> set[str]:
    """Which of the modules *wanted*, or of what is in them, *module* imports."""
    is_package = (PACKAGE.parent / module.replace(".", "/")).is_dir()
    return {
        name
        for name in imports(TREES[module], module, is_package)
        if any(name == one or name.startswith(f"{one}.") for one in wanted)
    }


def users(*wanted: str) -> set[str]:
    return {module for module in TREES if uses(module, *wanted)}


def in_sources(module: str) -> bool:
    return module == SOURCES or module.startswith(f"{SOURCES}.")


def calls(tree: ast.AST, module: str, function: str) -> bool:
    """Whether *tree* uses module.function, or takes it out of the module."""
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


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string in *tree*, in f-strings too; docstrings explain and do not count."""
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
    ("text", "expected"),
    [
        ("import a.b", {"a.b"}),
        ("import a as c", {"a"}),
        ("from a import b", {"a", "a.b"}),
        ("def f():\n    from a.b import c", {"a.b", "a.b.c"}),
        ("from . import hub", {"top.inner", "top.inner.hub"}),
        ("from .. import hub", {"top", "top.hub"}),
        ("from ..hub import Hub", {"top.hub", "top.hub.Hub"}),
    ],
)
def test_the_walk_sees_every_form_of_import(text: str, expected: set[str]) -> None:
    assert imports(ast.parse(text), "top.inner.module") == expected


@pytest.mark.parametrize(
    "text", ["signal.signal(1, f)", "x = signal.signal", "from signal import signal", "import signal as s"]
)
def test_the_walk_sees_every_way_to_a_function(text: str) -> None:
    assert calls(ast.parse(text), "signal", "signal")
    assert not calls(ast.parse("import signal; signal.pause()"), "signal", "signal")


def test_the_walk_reads_strings_but_not_docstrings() -> None:
    tree = ast.parse('"""LISTEN_FDS: explained."""\nx = os.environ["A"] + f"B{x}"')
    assert set(strings(tree)) == {"A", "B"}


def test_the_walk_covers_the_package() -> None:
    assert {"pi_cam_daemon.errors", SOURCES, f"{SOURCES}.pattern"} <= set(TREES)


@pytest.mark.parametrize("module", [name for name in TREES if in_sources(name)])
def test_a_source_knows_neither_the_server_nor_the_hub(module: str) -> None:
    ours = ("hub", "server", "streams", "supervisor")
    assert not uses(module, "http.server", "socketserver", *(f"pi_cam_daemon.{name}" for name in ours))


@pytest.mark.parametrize("module", ["server", "streams", "hub", "health"])
def test_what_serves_knows_no_source(module: str) -> None:
    if (name := f"pi_cam_daemon.{module}") in TREES:
        assert not uses(name, SOURCES)


def test_only_the_csi_source_imports_the_camera_stack() -> None:
    assert users("picamera2", "libcamera") <= {f"{SOURCES}.csi", f"{SOURCES}.csi_encoders"}


def test_only_sources_the_card_and_what_turns_pictures_use_pixels() -> None:
    others = {f"pi_cam_daemon.{name}" for name in ("card", "lettering", "orientation", "overlay")}
    assert {module for module in users("cv2", "numpy") if not in_sources(module)} <= others


def test_only_the_mains_of_the_two_processes_install_signals() -> None:
    installers = {module for module, tree in TREES.items() if calls(tree, "signal", "signal")}
    assert installers <= {"pi_cam_daemon.daemon", "pi_cam_daemon.camera.process"}


def test_the_wall_clock_is_read_only_where_a_moment_is_told_and_no_age_hangs_on_it() -> None:
    tellers = {
        "daemon",  # X-Timestamp of a card
        "exif",  # when a picture was taken
        "link",  # X-Timestamp of a picture
        "overlay",  # the time in the picture
        "metrics",  # when this process began
        "sources.pattern",  # the clock in the test picture
        "state",  # when the configuration was taken
        "commands.support",  # the files' dates
    }
    readers = {module for module, tree in TREES.items() if calls(tree, "time", "time")}
    assert readers <= {f"pi_cam_daemon.{name}" for name in tellers}
    assert not users("datetime")
    assert not {module for module, tree in TREES.items() if calls(tree, "time", "time_ns")}


def test_only_the_systemd_module_reads_what_systemd_hands_over() -> None:
    names = re.compile(r"NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|LISTEN_(FDS|PID|FDNAMES)|RUNTIME_DIRECTORY")
    readers = {module for module, tree in TREES.items() if any(map(names.search, strings(tree)))}
    assert readers <= {"pi_cam_daemon.system.systemd"}


# __main__ is left out: to import it is to run the program
