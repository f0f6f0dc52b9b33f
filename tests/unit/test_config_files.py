"""Which files make an app: search path, masks, drop-ins, merging."""

import os
from pathlib import Path

import pytest

from svc.app import App
from svc.config import AppFiles, ConfigError, SearchPath, find, load

SMALL = 'app = "site:app"\nlisten = ["127.0.0.1:8000"]\n'


def put(root: Path, path: str, text: str = SMALL) -> Path:
    """Write a file below `root`, with its directories."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def only(root: Path) -> App:
    """Load the only app below `root`."""
    (files,) = find(SearchPath.system(root)).values()
    return load(files)


def test_the_directories_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SVC_ROOT", raising=False)
    expected = ("/etc/svc", "/run/svc", "/usr/local/lib/svc/apps", "/usr/lib/svc/apps")
    assert SearchPath.system() == SearchPath(tuple(map(Path, expected)))
    assert SearchPath.system("/x").directories[0] == Path("/x/etc/svc")
    monkeypatch.setenv("SVC_ROOT", "/root-of-a-test")
    assert SearchPath.system().directories[3] == Path("/root-of-a-test/usr/lib/svc/apps")


def test_the_directories_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SVC_ROOT", raising=False)

    def directories(**environ: str) -> list[str]:
        search = SearchPath.user({"HOME": "/home/ada"} | environ)
        assert search.user_scope
        return list(map(str, search.directories))

    assert directories() == ["/home/ada/.config/svc", "/etc/svc/user"]
    assert directories(XDG_CONFIG_HOME="/c", XDG_RUNTIME_DIR="/run/user/7") == [
        "/c/svc",
        "/run/user/7/svc",
        "/etc/svc/user",
    ]
    assert directories(XDG_CONFIG_HOME="relative", XDG_RUNTIME_DIR="relative") == directories()


def test_nothing_is_there(tmp_path: Path) -> None:
    assert find(SearchPath.system(tmp_path)) == {}
    put(tmp_path, "etc/svc", "a file where a directory is wanted")
    assert find(SearchPath.system(tmp_path)) == {}


def test_the_first_found_wins_and_names_are_sorted(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/svc/apps/shop.toml")
    wins = put(tmp_path, "run/svc/shop.toml")
    put(tmp_path, "etc/svc/zoo.toml")
    put(tmp_path, "usr/local/lib/svc/apps/blog.toml")
    put(tmp_path, "etc/svc/.hidden.toml")
    put(tmp_path, "etc/svc/notes.txt")
    found = find(SearchPath.system(tmp_path))
    assert list(found) == ["blog", "shop", "zoo"]
    assert found["shop"] == AppFiles("shop", wins)


@pytest.mark.parametrize("kind", ["empty", "link"])
def test_a_mask(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "usr/lib/svc/apps/shop.toml")
    mask = put(tmp_path, "etc/svc/shop.toml", "")
    if kind == "link":
        mask.unlink()
        mask.symlink_to("/dev/null")
    assert find(SearchPath.system(tmp_path)) == {}


def test_drop_ins_of_all_directories_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/svc/apps/shop.toml")
    put(tmp_path, "usr/lib/svc/apps/shop.toml.d/20.toml", "workers = 2")
    put(tmp_path, "usr/lib/svc/apps/shop.toml.d/30.toml", "workers = 3")
    put(tmp_path, "usr/lib/svc/apps/shop.toml.d/40.toml", "workers = 4")
    put(tmp_path, "run/svc/shop.toml.d/30.toml", "workers = 33")
    put(tmp_path, "etc/svc/shop.toml.d/10.toml", "workers = 1")
    put(tmp_path, "etc/svc/shop.toml.d/40.toml", "")
    put(tmp_path, "etc/svc/shop.toml.d/README", "workers = 99")
    files = find(SearchPath.system(tmp_path))["shop"]
    assert [str(path.relative_to(tmp_path)) for path in files.dropins] == [
        "etc/svc/shop.toml.d/10.toml",
        "usr/lib/svc/apps/shop.toml.d/20.toml",
        "run/svc/shop.toml.d/30.toml",
    ]
    assert load(files).workers == 33


def test_drop_ins_alone_are_no_app(tmp_path: Path) -> None:
    put(tmp_path, "etc/svc/shop.toml.d/10.toml", "workers = 1")
    assert find(SearchPath.system(tmp_path)) == {}


def test_sections_merge_and_everything_else_replaces(tmp_path: Path) -> None:
    put(
        tmp_path,
        "etc/svc/shop.toml",
        SMALL + '[limits]\nstart = 5\ndrain = 6\n[env]\nA = "1"\nB = "2"\n[service]\nX = ["1", "2"]\n',
    )
    put(
        tmp_path,
        "etc/svc/shop.toml.d/a.toml",
        'listen = "[::1]:9000"\n[limits]\ndrain = 7\n'
        '[env]\nB = "3"\nC = "4"\n[service]\nX = "3"\n[unit]\nY = 1\n',
    )
    app = only(tmp_path)
    assert [str(one) for one in app.listen] == ["[::1]:9000"]
    assert (app.limits.start, app.limits.drain) == (5, 7)
    assert app.env == (("A", "1"), ("B", "3"), ("C", "4"))
    assert app.service == (("X", "3"),)
    assert app.unit == (("Y", "1"),)
    assert (app.name, app.source) == ("shop", tmp_path / "etc/svc/shop.toml")


def test_an_error_names_the_drop_in_and_its_line(tmp_path: Path) -> None:
    put(tmp_path, "etc/svc/shop.toml", "wokers = 1\n" + SMALL + "[limits]\ndrain = 6\nstart = -1\n")
    dropin = put(tmp_path, "run/svc/shop.toml.d/a.toml", '\n[limits]\n\ndrain = "x"\n')
    with pytest.raises(ConfigError) as caught:
        only(tmp_path)
    assert [(p.file, p.line, p.key) for p in caught.value.problems] == [
        (tmp_path / "etc/svc/shop.toml", 1, "wokers"),
        (tmp_path / "etc/svc/shop.toml", 6, "limits.start"),
        (dropin, 4, "limits.drain"),
    ]


def test_a_broken_file_leaves_the_others_checked(tmp_path: Path) -> None:
    main = put(tmp_path, "etc/svc/shop.toml", "app = 'x:y'\nlisten = [\n")
    first = put(tmp_path, "etc/svc/shop.toml.d/1.toml", "workers = 0\n")
    second = put(tmp_path, "etc/svc/shop.toml.d/2.toml", "a = 1\nworkers ==\n")
    with pytest.raises(ConfigError) as caught:
        only(tmp_path)
    places = [(p.file, p.line) for p in caught.value.problems]
    assert places == [(main, 2), (first, 1), (second, 2)]
    assert "is not TOML: " in str(caught.value)
    assert "(column 10)" in str(caught.value.problems[2])


def bytes_file(file: Path) -> None:
    file.write_bytes(b'app = "x:y"\nlisten = "\xff"\n')


def fifo(file: Path) -> None:
    os.mkfifo(file)


def directory(file: Path) -> None:
    (file / "inside").mkdir(parents=True)


def dangling(file: Path) -> None:
    file.symlink_to("nowhere")


def deep(file: Path) -> None:
    file.write_text("a = " + "[" * 100_000 + "]" * 100_000)


def deep_key(file: Path) -> None:
    file.write_text("env." + "a." * 2_000 + "a = 1")


def long_number(file: Path) -> None:
    file.write_text("workers = " + "9" * 10_000)


def long_hexadecimal(file: Path) -> None:
    file.write_text("workers = 0x" + "f" * 10_000)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (bytes_file, ":2: is not UTF-8 text; save it as UTF-8"),
        (fifo, "is not a regular file"),
        (directory, "cannot be read (Is a directory)"),
        (dangling, "cannot be read (No such file or directory)"),
        (deep, "is nested too deeply"),
        (deep_key, "env.a: a table cannot be the value"),
        (long_number, "is not TOML"),
        (long_hexadecimal, "workers: a number this large is out of range"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_problem(tmp_path: Path, make: object, said: str) -> None:
    (tmp_path / "etc/svc").mkdir(parents=True)
    assert callable(make)
    make(tmp_path / "etc/svc/shop.toml")
    with pytest.raises(ConfigError) as caught:
        only(tmp_path)
    assert said in str(caught.value)


def test_a_mark_at_the_begin_of_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    put(tmp_path, "etc/svc/shop.toml", f"\ufeff{SMALL}")
    assert only(tmp_path).app == "site:app"


def test_a_folder_of_drop_ins_that_cannot_be_read_costs_its_app_alone(tmp_path: Path) -> None:
    put(tmp_path, "etc/svc/good.toml")
    put(tmp_path, "etc/svc/shop.toml")
    folder = tmp_path / "etc/svc/shop.toml.d"
    folder.symlink_to(folder)
    found = find(SearchPath.system(tmp_path))
    assert load(found["good"]).name == "good"
    with pytest.raises(ConfigError, match=r"shop\.toml\.d: cannot be read \(Too many levels"):
        load(found["shop"])


def test_a_directory_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is played."""

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("svc.config.search.os.scandir", refuse)
    with pytest.raises(ConfigError, match=r"etc/svc: cannot be read \(Permission denied\); make it readable"):
        find(SearchPath.system(tmp_path))
