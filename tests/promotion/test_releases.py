import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import write_json
from lifecycle.promotion import releases
from lifecycle.promotion.records import Action, HistoryLine

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


def line(action: Action, model: str, before: str | None, bundle: str | None = "x") -> HistoryLine:
    return HistoryLine(
        at="2026-01-01T00:00:00+00:00", by="ada", action=action, model=model, bundle=bundle, before=before, because="é"
    )


def test_the_first_lines_without_action_and_bundle_still_read(root: Path) -> None:
    old = {"at": "2026-01-01T00:00:00+00:00", "by": "ada", "model": A, "before": None, "because": "all hold"}
    (root / paths.HISTORY).write_text(json.dumps(old) + "\n")
    assert [entry.to_json() for entry in releases.read_history(root)] == [{**old, "action": "promote", "bundle": None}]
    write_json({"format": 2, "model": A, "bundle": "x"}, root / paths.CHAMPION)
    releases.repair_history(root, None)
    assert len(releases.read_history(root)) == 1


def test_a_history_that_is_not_json_is_refused_by_its_line(root: Path) -> None:
    releases.append_line(root, line("promote", A, None))
    with (root / paths.HISTORY).open("a") as file:
        file.write("hello\n")
    with pytest.raises(ProjectError, match=r"models/history\.jsonl, line 2: expected a JSON object"):
        releases.read_history(root)


@pytest.mark.parametrize("cut", [1, 2, 20, 100])
def test_a_torn_line_is_written_again(root: Path, cut: int) -> None:
    for entry in (first := line("promote", A, None), second := line("promote", B, A)):
        releases.append_line(root, entry)
    write_json({"format": 2, "model": B, "bundle": "x"}, root / paths.CHAMPION)
    path = root / paths.HISTORY
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    releases.read_history(root)  # half a line hides nothing before it
    releases.repair_history(root, second)
    history = releases.read_history(root)
    assert history[0] == first and len(history) == 2
    assert history[1] == second.model_copy(update={"because": history[1].because})
    assert path.read_bytes().endswith(b"\n") and (cut > 1 or path.read_bytes() == whole)


def test_a_champion_that_the_history_does_not_know_gets_its_line(root: Path) -> None:
    for entry in (line("promote", A, None), line("promote", B, A)):
        releases.append_line(root, entry)
    write_json({"format": 2, "model": A, "bundle": "x"}, root / paths.CHAMPION)  # as git checked it out
    releases.repair_history(root, None)
    last = releases.read_history(root)[-1]
    assert (last.action, last.model, last.before) == ("rollback", A, B)
    assert last.because == "recovered: models/champion.json names it"
    write_json({"format": 2, "model": C, "bundle": "x"}, root / paths.CHAMPION)
    releases.repair_history(root, line("promote", B, A))  # of a move that did not come to pass
    assert releases.read_history(root)[-1].action == "promote"
    write_json({"model": None}, root / paths.CHAMPION)
    releases.repair_history(root, None)
    assert len(releases.read_history(root)) == 4


@given(st.lists(st.sampled_from("abcd<")))
def test_the_way_back_is_a_stack(moves: list[str]) -> None:
    history, stack = [], []
    for move in moves:
        before = stack[-1] if stack else None
        if move != "<":
            if move != before:
                stack.append(move)
            history.append(line("promote", move, before))
        elif len(stack) > 1:
            stack.pop()
            history.append(line("rollback", stack[-1], before))
        assert releases.trace_history(history) == stack


def test_begun_anew_there_is_no_way_back(root: Path) -> None:
    history = [line("promote", A, None), line("promote", B, None)]
    assert releases.trace_history(history) == [B]
    assert releases.choose_previous(root, history) is None


def test_only_what_has_a_release_can_stand_in(root: Path) -> None:
    history = [line("promote", A, None), line("promote", B, A), line("promote", C, B)]
    assert releases.choose_previous(root, history) is None
    releases.find_release_folder(root, A).mkdir(parents=True)
    assert releases.choose_previous(root, history) == A
    back = [*history, line("rollback", A, C)]
    assert releases.trace_history(back) == [A] and releases.choose_previous(root, back) is None


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", fail)
    assert releases._name_user().isdigit()


def test_half_an_intent_is_none(root: Path) -> None:
    with releases.hold_lock(root) as journal:
        assert releases.read_intent(journal) is None
        releases.write_intent(journal, line("promote", A, None))
    with releases.hold_lock(root) as journal:
        assert releases.read_intent(journal) == line("promote", A, None)
        (root / releases._LOCK).write_text('{"at": "2026')
        assert releases.read_intent(journal) is None
        releases.write_intent(journal, None)
    assert (root / releases._LOCK).read_bytes() == b""
