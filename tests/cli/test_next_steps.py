"""The closing words of ``make run``."""

from malaria_kedro.cli.next_steps import next_steps


def test_it_names_the_newest_report_and_each_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for version in ("2026-01-01", "2026-02-01"):
        report = tmp_path / "data" / "demo" / "08_reporting" / "report.html" / version / "report.html"
        report.parent.mkdir(parents=True)
        report.touch()
        (tmp_path / "data" / "demo" / "06_models" / "resnet18" / "classifier" / version / "classifier").mkdir(
            parents=True
        )
    said = next_steps("demo")
    assert "report   data/demo/08_reporting/report.html/2026-02-01/report.html" in said
    assert "model    data/demo/06_models/resnet18/classifier/2026-02-01/classifier" in said


def test_it_says_when_there_is_no_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "none was written" in next_steps("base")
