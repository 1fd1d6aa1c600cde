"""Ray on one machine: the loopback address alone, a token for every client, and nothing left when it is over."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from auscult import cluster
from auscult.errors import AuscultError

# not importorskip: Ray must be imported after its settings are made
ray_there = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")

CLIENT = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
except ConnectionError:
    sys.exit(7)
print(sum(ray.get([ray.remote(lambda: 20).remote(), ray.remote(lambda: 22).remote()])))
"""
JOINS = """
from auscult import cluster
with cluster.local(1) as ray:
    print(ray.get(ray.remote(lambda: 42).remote()), ray.nodes()[0]["NodeID"])
"""
WAITS = """
import time
import psutil
from auscult import cluster
with cluster.local(1) as ray:
    print(*(process.pid for process in psutil.Process().children(recursive=True)), flush=True)
    time.sleep(600)
"""


def test_without_ray_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AuscultError, match=r'E_SETTING: .*pip install "auscult\[ray\]"'), cluster.local():
        pass


@ray_there
def test_an_address_for_clients_from_outside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere:10001")
    with pytest.raises(AuscultError, match="HOST:PORT or auto"), cluster.local():
        pass


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    before = dict(os.environ)
    with pytest.raises(KeyError), cluster.settings_for_ray():
        assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
        raise KeyError
    assert dict(os.environ) == before


def test_a_cluster_that_listens_elsewhere_is_refused() -> None:
    cluster.check_address("127.0.0.1")
    with pytest.raises(AuscultError, match=r"listens on 192\.0\.2\.7 and not on 127\.0\.0\.1 alone"):
        cluster.check_address("192.0.2.7")


# ------------------------------------------------------------------------------------------------- a real one


def listeners(processes: list[Any]) -> list[str]:
    """Addresses on which these processes listen."""
    open_ones = [c for process in processes for c in process.net_connections("tcp") if c.status == "LISTEN"]
    return [connection.laddr.ip for connection in open_ones]


def client(address: str, **settings: str) -> subprocess.Popen[str]:
    """A program of the same user on the same machine, with these settings of Ray and no others."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} | settings  # without it, it looks for the cluster elsewhere
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, address], env=own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@ray_there
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_listens_on_loopback_refuses_strangers_and_ends_all() -> None:
    import psutil

    with pytest.raises(KeyError), cluster.local(2) as ray:
        ours = psutil.Process().children(recursive=True)
        names = {process.name() for process in ours}
        assert {"gcs_server", "raylet"} <= names
        found = listeners([psutil.Process(), *ours])
        assert set(found) == {"127.0.0.1", "::ffff:127.0.0.1"} and len(found) > 4, found
        folder = Path(ray._private.worker._global_node.get_session_dir_path()).parents[1]
        assert folder.stat().st_mode & 0o077 == 0, "others can reach its sockets"
        address = ray.get_runtime_context().gcs_address
        refused = [client(address), client(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)]
        admitted = client(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=cluster.TOKEN)
        again = subprocess.run(
            [sys.executable, "-c", JOINS], env=os.environ | {"RAY_ADDRESS": address}, stdout=subprocess.PIPE, text=True
        )
        assert again.stdout.split() == ["42", ray.nodes()[0]["NodeID"]], "it did not join this cluster"
        said = [process.communicate()[0] for process in (*refused, admitted)]
        assert said == ["", "", "42\n"] and [process.returncode for process in (*refused, admitted)] == [7, 7, 0]
        with cluster.local() as same:
            assert same is ray
        assert ray.get(ray.remote(lambda: 1).remote()) == 1, "a client that left took the cluster with it"
        raise KeyError
    assert not [process for process in ours if process.is_running()] and not folder.exists()


@ray_there
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_the_process_that_started_it(how: signal.Signals) -> None:
    import psutil

    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    ours = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
    assert len(ours) > 3
    process.send_signal(how)
    process.communicate()
    began = time.monotonic()
    assert not psutil.wait_procs(ours, timeout=150)[1], "a process was left behind"
    print(f"{how.name}: all had ended after {time.monotonic() - began:.1f} s")
