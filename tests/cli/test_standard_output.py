"""Standard output for programs: results alone, and no traceback where nobody reads."""

import os
import re
import shutil
import subprocess
import sys

import pytest


def run(code: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )


def unread(code: str) -> subprocess.CompletedProcess[str]:
    """Run with a stdout that nobody reads."""
    started = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.readline()\n" + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.stdout.close()
    started.stdin.write("\n")
    started.stdin.close()
    error = started.stderr.read()
    started.stderr.close()
    return subprocess.CompletedProcess(started.args, started.wait(60), "", error)


def test_whatever_is_printed_on_the_way_goes_to_stderr():
    done = run(
        "import logging, os, sys\n"
        "from malaria_kedro.cli.standard_output import only_for_results, write_result\n"
        "with only_for_results():\n"
        "    print('by Python')\n"
        "    os.write(1, b'by C\\n')\n"
        "    os.system('echo by a child')\n"
        "    logging.basicConfig(stream=sys.stdout)\n"
        "logging.warning('by a handler of before')\n"
        "write_result('{}')\n"
    )
    assert (done.returncode, done.stdout) == (0, "{}\n")
    for who in ("by Python", "by C", "by a child", "by a handler of before"):
        assert who in done.stderr


def test_a_stdout_that_is_closed_is_no_error():
    code = (
        "import os; os.close(1)\n"
        "from malaria_kedro.cli.standard_output import only_for_results\n"
        "with only_for_results(): print('said')\n"
    )
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "said\n")


@pytest.mark.parametrize("handler", ["logging.StreamHandler(sys.stdout)", "rich.logging.RichHandler()"])
def test_log_lines_that_nobody_reads_go_nowhere_and_the_work_goes_on(handler):
    done = unread(
        "import logging, rich.logging\n"
        "from malaria_kedro.cli.standard_output import outlive_readers\n"
        f"logging.basicConfig(handlers=[{handler}])\n"
        "outlive_readers(); outlive_readers()\n"
        "for line in range(3): logging.warning('line %d', line)\n"
        "print('the end'); sys.stderr.write('done')\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "nobody reads the output any more: going on without it\ndone"


def test_other_faults_of_logging_are_told_as_before():
    done = run(
        "import logging\n"
        "from malaria_kedro.cli.standard_output import outlive_readers\n"
        "outlive_readers(); logging.warning('%d', 'no number')\n"
    )
    assert "Logging error" in done.stderr


def test_a_result_that_nobody_reads_ends_as_in_a_shell():
    done = unread("from malaria_kedro.cli.standard_output import write_result\nwrite_result('x' * 100_000)\n")
    assert done.returncode == 141
    assert "Traceback" not in done.stderr


def test_a_name_that_is_no_utf_8_is_printed_escaped():
    done = run(
        "import logging, sys\n"
        "from malaria_kedro.cli.standard_output import accept_any_name, write_result\n"
        "accept_any_name()\n"
        "logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "logging.warning('cells of caf\\udce9')\n"
        "write_result('caf\\udce9.csv')\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "cells of caf\\udce9\ncaf\\udce9.csv\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_result_that_cannot_be_written_is_an_error_in_a_sentence():
    with open("/dev/full", "w") as full:
        done = run("from malaria_kedro.cli.standard_output import write_result; write_result('{}')", stdout=full)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: .*\(No space left on device\)\n", done.stderr)


def run_with(closed: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run with standard streams that the shell has closed, such as ``>&-``."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_a_stdout_that_was_never_open_is_said_in_a_sentence():
    done = run_with(
        ">&-",
        "from malaria_kedro.cli.standard_output import accept_any_name, only_for_results, write_result\n"
        "accept_any_name()\n"
        "with only_for_results(): print('on the way')\n"
        "write_result('{}')\n",
    )
    assert done.returncode == 1
    assert done.stderr == "on the way\nError: the result cannot be written to standard output (it is closed)\n"


def test_a_stdout_that_was_closed_on_the_way_is_said_in_a_sentence():
    done = run(
        "import sys; from malaria_kedro.cli.standard_output import write_result; sys.stdout.close(); write_result('')"
    )
    assert done.returncode == 1
    assert re.fullmatch(r"Error: .*\(it is closed\)\n", done.stderr)


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&-"])
@pytest.mark.parametrize("hold", ["with only_for_results(): pass", "hold_closed_streams()"])
def test_what_goes_to_a_closed_stream_lands_in_no_file(tmp_path, closed, hold):
    done = run_with(
        closed,
        "import os\n"
        "from malaria_kedro.cli.standard_output import hold_closed_streams, only_for_results\n"
        f"{hold}\n"
        f"file = open({str(tmp_path / 'rows')!r}, 'w')\n"
        "assert file.fileno() > 2, file.fileno()\n"
        "os.system('echo by a child')\n",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rows").read_text() == ""
