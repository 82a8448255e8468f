"""The structure of the package: imports go one way, those inside functions counted; heavy ones only where needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "recmodel"
# From what everybody may import to what nobody imports; modules at the top of the package are named one by one.
LAYERS = (
    ("errors", "version", "schemas", "formatting", "dates", "arrays", "tf"),
    ("storage", "records", "progress"),
    ("data",),
    ("scoring",),
    ("settings",),
    ("models", "tables", "spark"),
    ("evaluation",),
    ("pipeline",),
    ("report",),
    ("cli",),
    ("jobs", "api", "__init__", "__main__"),
)


def modules() -> dict[str, Path]:
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE / "jobs").glob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    known = modules()
    return {name for name in found if name in known}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return {name: imports_of(path) for name, path in modules().items()}


def test_there_are_no_circles(graph):
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join([*above[above.index(name) :], name])}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_packages_import_only_what_flows_into_them(graph):
    level = {part: i for i, layer in enumerate(LAYERS) for part in layer}
    upward = {
        (name, other)
        for name, others in graph.items()
        for other in others
        if level[name.split(".")[1]] < level[other.split(".")[1]]
    }
    assert upward == set()


def test_the_top_of_the_package_is_a_table_of_contents():
    assert len(list(PACKAGE.glob("*.py"))) <= 14
    for package in PACKAGE.glob("*/__init__.py"):
        assert package.parent.name == "jobs" or package.read_text() == ""


def test_no_test_imports_a_test():
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(part.startswith(("test_", "conftest")) for name in names for part in name.split(".")), path


def test_workers_import_neither_settings_nor_pydantic():
    """They run where only TensorFlow, NumPy, SciPy, pandas and PyArrow are shipped."""
    script = (
        "import sys; sys.modules['pydantic'] = sys.modules['pydantic_settings'] = sys.modules['click'] = None\n"
        "import recmodel.data.intake, recmodel.scoring.parts, recmodel.models.history.served\n"
        "print(sorted(name for name in sys.modules if name.startswith('recmodel.')))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "recmodel.settings" not in answer.stdout
