"""`review` as a user runs it: the page in a browser, its verdicts read back, a policy that a service loads."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import evals
from evals import store
from evals.cli import main
from evals.core import Policy
from evals.policy.saved import save_policy
from evals.report import review as report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NASTY = (
    "</pre></script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> {{cards}} & é"
)


@pytest.fixture
def run(project: Path) -> Path:
    """A run of the rules over 120 documents: those of a March of two digits are found, the others have no date."""
    rows = []
    for i in range(120):
        day, known = i % 28 + 1, i % 3
        text = (
            f"Agreement {i} by Acme Ltd on March {day}, 2024."
            if known
            else f"Agreement {i} by Acme Ltd, no date. {NASTY}"
        )
        target = {"who": "Acme Ltd", "when": f"2024-03-{day:02d}"}
        rows.append({"id": f"d{i}", "text": text, "target": target, "tags": ["simple"]})
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["run", "task=mine", "model=rules"]) == 0
    return next((project / "results" / "mine" / "rules").iterdir())


def told(folder: Path, name: str = "review") -> Any:
    return json.loads((folder / f"{name}.json").read_text())


def test_the_documents_that_lack_a_date_go_to_a_person(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", f"run={run}", "usd_per_hour=60", "volume=500"]) == 0
    found, out = told(run / "review"), capsys.readouterr().out
    assert found["n"] == 120 and found["error"]["value"] == pytest.approx(1 / 3)
    assert found["share"]["value"] == pytest.approx(1 / 3 - 0.02, abs=1e-6), "0.02 of all may still be wrong"
    flagged = {row["sample_id"] for row in found["documents"] if row["review"]}
    assert flagged == {f"d{i}" for i in range(0, 120, 3)} and found["sent"] == 40, "equal ones go together"
    assert found["residual"]["value"] == 0.0 and any("go together" in note for note in found["notes"])
    assert found["work"]["value"]["usd_per_day"] == pytest.approx(found["share"]["value"] * 500 * 3)
    assert "share to review" in out and "$" in out and "review.html" in out and "AUC 1.00" in out
    assert {path.name for path in (run / "review").iterdir()} == {"review.html", "review.csv", "review.json"}
    assert (run / "review" / "review.csv").read_text().count("True") == len(flagged)


def test_the_page_shows_everything_escaped_and_asks_nobody(run: Path, tmp_path: Path) -> None:
    assert main(["review", f"run={run}", f"out={tmp_path / 'r'}", "show=5"]) == 0
    page = (tmp_path / "r" / "review.html").read_text()
    assert page.count("<section") == 5 and page.count("<script>") == 1 and "<img" not in page and "{{" not in page
    assert "&lt;/pre&gt;" in page and "default-src &#x27;none&#x27;" not in page and "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page) and "http" not in page.replace("http-equiv", "")


@pytest.mark.skipif(CHROMIUM is None, reason="no browser is here")
def test_a_person_ticks_and_the_verdicts_come_back(run: Path, tmp_path: Path, capsys: Any) -> None:
    """In a browser: each field of two documents is ticked, `when` as wrong; the download is read back as measured."""
    assert main(["review", f"run={run}", f"out={tmp_path / 'r'}", "show=4"]) == 0
    ticks = """<script>URL.createObjectURL=b=>{b.text().then(t=>document.body.setAttribute("data-said",t));return "#"};
    HTMLAnchorElement.prototype.click=function(){};
    for(const card of cards.slice(0,2)){for(const row of rows(card)){const word=row.dataset.path==="when"?"wrong":"right";
    row.querySelector('input[value='+word+']').click()} seconds.set(card,90)}
    document.getElementById("who").value="me";document.getElementById("save").click();</script></body>"""
    page = tmp_path / "r" / "review.html"
    page.write_text(page.read_text().replace("</body>", ticks))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    said = re.search(r'data-said="([^"]*)"', done.stdout)
    if said is None:
        pytest.skip("the browser did not start")
    assert "<title>review: mine (test)</title>" in done.stdout, "nothing of a document was run"
    assert "2 of 4 documents done" in done.stdout and "1 wrong" in done.stdout
    verdicts = tmp_path / "verdicts.json"
    verdicts.write_text(unescape(said[1]))
    assert json.loads(verdicts.read_text())["reviewer"] == "me"
    capsys.readouterr()
    assert main(["review", f"run={run}", f"verdicts={verdicts}", "usd_per_hour=60", f"out={tmp_path / 'v'}"]) == 0
    found = told(tmp_path / "v", "verdicts")
    assert found["documents"] == 2 and found["wrong_documents"]["value"] == 1.0 and found["fields"] == 4
    assert found["agreement"]["value"] == 1.0 and found["provenance"] == "measured"
    assert found["minutes_each"]["value"] == pytest.approx(1.5) and found["usd"] == pytest.approx(3.0)
    assert "what people found in rules on mine" in capsys.readouterr().out


def test_a_saved_review_policy_is_loaded_by_a_service_and_by_review(run: Path, tmp_path: Path) -> None:
    saved = tmp_path / "person.json"
    assert main(["review", f"run={run}", f"save={saved}"]) == 0
    policy = evals.load_policy(saved)
    assert policy.policy.strong == "person" and policy.policy.cheap == "rules"
    good, bad = {"null_share": 0.0, "grounded_share": 1.0}, {"null_share": 0.5, "grounded_share": 1.0}
    assert policy.choose({"sample_id": "x", "data_class": "restricted"}, [bad]) == "strong"
    assert policy.choose({"sample_id": "x"}, [good]) is None
    again = evals.review(run, policy=str(saved), out=str(tmp_path / "again"))
    assert again.result["p_error"]["from"] == "saved" and "flatter" in " ".join(again.result["notes"])


def test_without_the_documents_there_is_a_page_all_the_same(run: Path, project: Path, tmp_path: Path) -> None:
    (project / "docs.jsonl").write_text("")
    done = evals.review(run, out=str(tmp_path / "r"))
    assert any("documents are not used" in note for note in done.result["notes"])
    assert "the document is not at hand" in (tmp_path / "r" / "review.html").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "run=FOLDER names the run"),
        (["run=nowhere"], "is nowhere a run folder?"),
        (["run=RUN", "target=2"], "target=2 must lie in 0..1"),
        (["run=RUN", "minutes=0"], "minutes=0 must be above 0"),
        (["run=RUN", "quality=nonsense"], "nonsense"),
        (["run=RUN", "policy=mix.json"], "is a random_mix: review needs the P(error) of a cascade"),
        (["run=RUN", "policy=other.json"], "speaks of the answers of fake, this run is of rules"),
        (["run=RUN", "verdicts=nowhere.json"], "nowhere.json is not there"),
        (["run=RUN", "target=0", "reviewer_error=0.1", "save=p.json"], "target=0 is not reached"),
    ],
)
def test_mistakes_in_one_line(
    run: Path, project: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    save_policy(Policy(kind="random_mix", cheap="rules", strong="fake", share=0.5), project / "mix.json")
    signal = {"inputs": ["null_share"], "mean": [0.0], "scale": [1.0], "coef": [1.0], "intercept": 0.0}
    save_policy(
        Policy(kind="cascade", cheap="fake", strong="person", signal=signal, threshold=0.5), project / "other.json"
    )
    assert main(["review", *(word.replace("RUN", str(run)) for word in more)]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evals:")]
    assert len(error) == 1 and said in error[0]


def test_a_run_that_is_not_complete_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "summary.json").unlink()
    assert main(["review", f"run={run}"]) == 2 and "is not complete" in capsys.readouterr().err


def test_values_of_every_kind_are_escaped() -> None:
    leaf = {"path": NASTY, "outcome": NASTY, "answer": {"a": NASTY}, "gold": NASTY, "grounded": False}
    card = {
        "sample_id": NASTY,
        "repeat": 0,
        "p_error": 0.5,
        "reasons": [NASTY],
        "fields": [leaf],
        "answer": NASTY,
        "failure": NASTY,
        "text": NASTY,
        "data_class": NASTY,
    }
    result = {"run": NASTY, "option": NASTY, "answers_hash": "h", "task": NASTY, "split": "test", "threshold": 0.1}
    page = report.page({**result, "sent": 1, "n": 2, "target": 0.02, "quality": NASTY}, [card])
    assert page.count("<script>") == 1 and "<img" not in page and "{{" not in page and page.count("<section") == 1


def test_store_reads_what_it_wrote(run: Path) -> None:
    assert main(["review", f"run={run}"]) == 0
    assert store.read_json(run / "review" / "review.json")["run"] == str(run)
    assert len(evals.load_runs(run)) == 120, "the folder is still a run"


def test_an_imported_run_is_judged_answer_by_answer(project: Path, tmp_path: Path) -> None:
    """Another harness's log has no fields: a person ticks the whole answer."""
    from foreign_logs import sample, samples_file

    samples_file(tmp_path / "a", [sample(i, {"exact_match": float(i % 4 > 0)}) for i in range(60)], model="org/m1")
    assert main(["import", f"file={next((tmp_path / 'a').rglob('samples_*'))}"]) == 0
    folder = next((project / "results" / "gsm8k").glob("*/*"))
    done = evals.review(folder, target=0.1, quality="score", out=str(tmp_path / "r"))
    assert done.result["error"]["value"] == pytest.approx(0.25) and done.result["n"] == 60
    page = (tmp_path / "r" / "review.html").read_text()
    assert page.count('data-path="whole answer"') == min(60, done.result["sent"])
    assert any("documents are not used" in note for note in done.result["notes"])
