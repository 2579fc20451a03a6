"""Who is let into a cluster, what is refused, and where keys and scratch files lie."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.command import command
from tests.slurm import fake_slurm
from wsigraph.config import load
from wsigraph.config.runtime import ClusterConfig
from wsigraph.errors import ClusterError, ConfigError
from wsigraph.run.batch.run_state import StateFile
from wsigraph.run.cluster import connect, job_script
from wsigraph.run.cluster_security import check_cluster, for_slurm, private_scratch


def settings(*words: str) -> ClusterConfig:
    return load(overrides=[f"cluster.{word}" for word in words]).cluster


def write_certificate(folder: Path) -> list[str]:
    """Write a certificate of its own into a folder and return the settings that name it."""
    from distributed import Security

    tls = Security.temporary().get_tls_config_for_role("worker")
    folder.mkdir()
    words = []
    for name, key in (("ca", "ca_file"), ("cert", "cert"), ("key", "key")):
        path = folder / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_text(tls[key])
        words.append(f"tls_{name}_file={path}")
    return words


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A scheduler with a worker that speak TLS: its address, and the settings that let in."""
    words = write_certificate(tmp_path / "theirs")
    ca, cert, key = (word.partition("=")[2] for word in words)
    file = tmp_path / "scheduler.json"
    options = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key, "--no-dashboard", "--scheduler-file", file]
    both = ["--host", "127.0.0.1", "--protocol", "tls"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{role}", *map(str, [*options, *more])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for role, more in (("scheduler", [*both, "--port", 0]), ("worker", ["--no-nanny", "--nthreads", 1]))
    ]
    end = time.monotonic() + 60
    while not (file.exists() and "tls://" in file.read_text()):
        assert time.monotonic() < end
        time.sleep(0.1)
    yield re.findall(r"tls://[\d.:]+", file.read_text())[0], words
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "ws://10.0.0.1:8786", "ucx://10.0.0.1:8786"])
def test_a_scheduler_in_the_clear_is_refused_unless_that_is_accepted(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"{address} is not encrypted.* runs code as you; .*cluster\.insecure=true"):
        settings(f"kind={address}")
    assert settings(f"kind={address}", "insecure=true").is_insecure


def test_certificates_are_given_whole() -> None:
    with pytest.raises(ConfigError, match=r"tls://10\.0\.0\.1:8786 takes certificates; give cluster\.tls_ca_file"):
        settings("kind=tls://10.0.0.1:8786", "insecure=true")
    for words in (["tls_ca_file=a"], ["tls_cert_file=a"], ["tls_key_file=a"]):
        with pytest.raises(ConfigError, match="give"):
            settings(*words)
    assert not settings("kind=wss://10.0.0.1:8786", "tls_ca_file=a", "tls_cert_file=b").is_insecure


def test_files_of_certificates_are_there_and_keys_are_closed(tmp_path: Path) -> None:
    words = write_certificate(tmp_path / "own")
    check_cluster(settings(*words))
    key = tmp_path / "own" / "key.pem"
    key.chmod(0o644)
    with pytest.raises(ClusterError, match=r"cluster\.tls_key_file .* open to other users; run: chmod 600"):
        check_cluster(settings(*words))
    (tmp_path / "own" / "cert.pem").chmod(0o644)
    with pytest.raises(ClusterError, match=r"cluster\.tls_cert_file .* holds a key and is open"):
        check_cluster(settings(*words[:2]))
    key.unlink()
    with pytest.raises(ClusterError, match=r"cluster\.tls_key_file .* does not read \(No such file"):
        check_cluster(settings(*words))


def test_a_scheduler_that_speaks_tls_is_joined_with_its_certificates_alone(
    lone: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, words = lone
    with connect(settings(f"kind={address}", *words)) as cluster:
        assert cluster.client.submit(sum, [1, 2]).result() == 3
    others = write_certificate(tmp_path / "others")
    for kind, given in ((address, others), (address.replace("tls", "tcp"), ["insecure=true"])):
        with pytest.raises(ClusterError, match=r"no scheduler answers at .*certificates") as met:
            connect(settings(f"kind={kind}", *given)).__enter__()
        assert "\n" not in str(met.value)


def test_work_without_tls_is_warned_of_at_every_start(scheduler: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "wsigraph.run.cluster"):
        for _ in range(2):
            with connect(settings(f"kind={scheduler}", "insecure=true")):
                pass
    assert [f"warning: cluster.insecure is set: {scheduler} without TLS" in text for text in caplog.messages] == [
        True
    ] * 2


def test_the_command_warns_in_its_own_voice(scheduler: str, tmp_path: Path, small_slide: Path) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text(f"slide_id,path\na,{small_slide}\n")
    words = ["run", table, "--out", tmp_path / "out", "--until", "read", "--cluster", scheduler]
    ended = subprocess.run(command(*words, "--set", "cluster.insecure=true"), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith(f"wsigraph: warning: cluster.insecure is set: {scheduler} without TLS")


def test_slurm_gets_certificates_in_a_closed_directory_that_goes_away(tmp_path: Path) -> None:
    config = settings("kind=slurm", f"slurm_shared_dir={tmp_path}")
    with for_slurm(config) as security:
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert security is not None
        assert security.require_encryption
        assert security.tls_worker_key == str(folder / "key.pem")
    assert not list(tmp_path.iterdir())
    with (
        pytest.raises(ClusterError, match=r"certificates .* cannot be written .*cluster\.slurm_shared_dir"),
        for_slurm(settings("kind=slurm", f"slurm_shared_dir={tmp_path / 'absent'}")),
    ):
        pass


def test_slurm_takes_given_certificates_or_none_where_that_is_accepted(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    words = write_certificate(tmp_path / "own")
    given = job_script(settings("kind=slurm", "insecure=true", *words))
    assert f"--tls-key {tmp_path / 'own' / 'key.pem'}" in given
    plain = job_script(settings("kind=slurm", "insecure=true"))
    assert "tcp://SCHEDULER:PORT" in plain
    assert "--tls" not in plain


def test_paths_with_spaces_reach_the_workers_of_a_job_whole(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    shared = tmp_path / "my slides; it's"
    shared.mkdir()
    (line,) = [text for text in job_script(slurm_in(shared)).splitlines() if "--tls-key" in text]
    words = shlex.split(line)
    assert words[words.index("--tls-key") + 1] == str(shared / ".wsigraph-tls-RUN" / "key.pem")
    assert words[0] == sys.executable
    with for_slurm(slurm_in(shared)) as security:
        assert security is not None
        # the scheduler, in this process, opens its files by their names
        assert security.get_listen_args("scheduler")["ssl_context"] is not None


def slurm_in(shared: Path) -> ClusterConfig:
    return ClusterConfig(kind="slurm", slurm_shared_dir=str(shared))


def test_the_scratch_directory_of_a_job_is_its_owners(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    lines = job_script(settings("kind=slurm")).splitlines()
    script = "\n".join([line for line in lines if "scratch" in line] + ["echo $DASK_TEMPORARY_DIRECTORY"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def scratch() -> Path:
        variables = {**os.environ, "TMPDIR": str(tmp_path)}
        return Path(subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True).stdout.strip())

    own = tmp_path / f"wsigraph-{os.getuid()}"
    assert scratch() == own == scratch()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.rmdir()
    own.symlink_to(elsewhere)
    assert scratch() not in (own, elsewhere)


def test_a_scratch_directory_that_somebody_prepared_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = tmp_path / f"wsigraph-{os.getuid()}"
    assert private_scratch() == str(own) == private_scratch()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o777)
    made = Path(private_scratch())
    assert made != own
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    own.rmdir()
    own.symlink_to(made)
    assert private_scratch() not in (str(own), str(made))


def test_the_runs_own_files_are_closed_to_others_and_open_to_the_group(tmp_path: Path) -> None:
    for before, after in ((None, 0o750), (0o755, 0o750), (0o775, 0o770), (0o700, 0o700)):
        out = tmp_path / str(before)
        if before is not None:
            (out / ".batch").mkdir(parents=True)
            (out / ".batch").chmod(before)
        umask = os.umask(0o022)
        StateFile(out, "r", {})
        os.umask(umask)
        assert stat.S_IMODE((out / ".batch").stat().st_mode) == after


@pytest.mark.parametrize("kind", ["local", "threads"])
def test_a_dashboard_is_there_when_asked_for_and_on_loopback(kind: str) -> None:
    before = listening()
    with connect(settings(f"kind={kind}", "workers=1", "dashboard_port=0")) as cluster:
        met = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/status", cluster.dashboard)
        assert met, cluster.dashboard
        assert {host for host, _ in listening() - before} == {"127.0.0.1"}
        assert int(met[1]) in {port for _, port in listening() - before}
    with connect(settings(f"kind={kind}", "workers=1")) as cluster:
        assert cluster.dashboard == ""


def listening() -> set[tuple[str, int]]:
    own = psutil.Process()
    found = [one for process in (own, *own.children(recursive=True)) for one in process.net_connections("inet")]
    return {tuple(one.laddr) for one in found if one.status == psutil.CONN_LISTEN}


def test_a_worker_that_is_started_anew_has_the_same_certificates() -> None:
    with connect(settings("kind=local", "workers=1")) as cluster:
        first = cluster.client.submit(os.getpid, pure=False).result()
        os.kill(first, signal.SIGKILL)
        assert cluster.client.submit(os.getpid, pure=False).result(timeout=60) != first
        assert all(address.startswith("tls://127.0.0.1:") for address in cluster.workers())


@pytest.fixture
def without_slurm(tmp_path: Path) -> dict[str, str]:
    """Variables under which neither sbatch nor scancel is found."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    return {**os.environ, "PATH": str(tmp_path / "bin")}


def test_slurm_without_its_commands_is_one_line_at_once(
    without_slurm: dict[str, str], tmp_path: Path, small_slide: Path
) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    # the manifest is not even read: this one is faulty
    table = tmp_path / "cohort.csv"
    table.write_text("slide_id,path\na,absent.svs\n")
    data = tmp_path / "data"
    data.mkdir()
    for words in (["run", table, "--out", tmp_path / "out"], ["serve", "--data", data, "--port", "0"]):
        ended = subprocess.run(
            command(*words, "--cluster", "slurm"), capture_output=True, text=True, env=without_slurm, timeout=300
        )
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended.stderr
        assert "--cluster slurm needs sbatch and scancel, not found on PATH; run it where jobs are" in ended.stderr
    assert not (tmp_path / "out").exists()
    assert not list(data.iterdir())


def test_a_dry_run_without_slurms_commands_shows_the_script_and_fails(
    without_slurm: dict[str, str], tmp_path: Path, small_slide: Path
) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    table = tmp_path / "cohort.csv"
    table.write_text(f"slide_id,path\na,{small_slide}\n")
    words = command("run", table, "--out", tmp_path / "out", "--cluster", "slurm", "--dry-run")
    ended = subprocess.run(words, capture_output=True, text=True, env=without_slurm)
    assert ended.returncode == 1
    assert "#SBATCH -J wsigraph" in ended.stdout
    assert ended.stderr.splitlines()[-1].startswith("wsigraph: --cluster slurm needs sbatch and scancel, not found")
    there = subprocess.run(words, capture_output=True, text=True, env=os.environ | fake_slurm(tmp_path / "slurm"))
    assert there.returncode == 0, there.stderr
