"""The allocator of the workers: blocks that nobody else has, whichever thread asks and whichever gives back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envs import getters
from envs.allocator import LIBRARY, allocator_library, preloading
from envs.remote import RemoteSimulation
from envs.setup import make_setup
from envs.worker import WorkerSetup
from scenarios.scenario import load
from tests.test_getters import needs_library

pytestmark = needs_library

STRESS = """
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

// Every block is filled with a byte of its own; whoever finds another there shares it with somebody.
struct Held { unsigned char* at; std::size_t size; unsigned char mark; };

static void fail(const char* what) { std::printf("%s\\n", what); std::_Exit(1); }

static void check(const Held& held, std::size_t size) {
    for (std::size_t n = 0; n < size; ++n) if (held.at[n] != held.mark) fail("another's block");
}

static std::mutex lock;
static std::vector<Held> passed_on;

static void work(unsigned seed) {
    std::mt19937 random(seed);
    std::vector<Held> mine;
    const auto size = [&] { return std::size_t(random() % 8 ? random() % 300 : random() % 9000); };
    for (int n = 0; n < 60000; ++n) {
        const unsigned what = random() % 10;
        if (mine.size() < 50 || what < 4) {
            Held held{nullptr, size(), static_cast<unsigned char>(random())};
            const unsigned how = random() % 4;
            if (how == 0) {
                held.at = static_cast<unsigned char*>(std::calloc(1, held.size));
                for (std::size_t k = 0; k < held.size; ++k) if (held.at[k]) fail("calloc left something");
            } else if (how == 1) {
                const std::size_t alignment = 16u << random() % 6;
                void* found = nullptr;
                if (posix_memalign(&found, alignment, held.size)) fail("posix_memalign");
                if (reinterpret_cast<std::uintptr_t>(found) % alignment) fail("posix_memalign: alignment");
                held.at = static_cast<unsigned char*>(found);
            } else {
                held.at = static_cast<unsigned char*>(std::malloc(held.size));
            }
            if (held.at == nullptr || reinterpret_cast<std::uintptr_t>(held.at) % 16) fail("alignment");
            if (malloc_usable_size(held.at) < held.size) fail("malloc_usable_size");
            std::memset(held.at, held.mark, held.size);
            mine.push_back(held);
            continue;
        }
        std::swap(mine[random() % mine.size()], mine.back());
        Held held = mine.back();
        mine.pop_back();
        check(held, held.size);
        if (what < 7) {
            std::free(held.at);
        } else if (what < 9) {
            const std::size_t other = size() + 1;
            held.at = static_cast<unsigned char*>(std::realloc(held.at, other));
            check(held, other < held.size ? other : held.size);
            held.size = other;
            std::memset(held.at, held.mark, held.size);
            mine.push_back(held);
        } else {  // to another thread, and one from there
            const std::lock_guard<std::mutex> guard(lock);
            passed_on.push_back(held);
            std::swap(passed_on[random() % passed_on.size()], passed_on.back());
            mine.push_back(passed_on.back());
            passed_on.pop_back();
        }
    }
    for (const Held& held : mine) { check(held, held.size); std::free(held.at); }
}

int main() {
    std::vector<std::thread> threads;
    for (unsigned n = 1; n < 4; ++n) threads.emplace_back(work, n);
    work(0);
    for (auto& thread : threads) thread.join();
    // what others gave back is used again
    void* first = std::malloc(48);
    std::thread([&] { std::free(first); }).join();
    bool again = false;
    for (int n = 0; n < 100000 && !again; ++n) again = std::malloc(48) == first;
    std::printf("%s\\n", again ? "good" : "lost");
}
"""


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled."""
    folder = tmp_path_factory.mktemp("stress")
    (folder / "stress.cpp").write_text(STRESS)
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))))
    command = [compiler, "-std=c++17", "-O1", "-pthread", "-o", "stress", "stress.cpp"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "stress"


@pytest.mark.parametrize("limit_kb", ["unlimited", "4000000"])
def test_no_block_is_anybody_elses(stress: Path, limit_kb: str) -> None:
    """Four threads that ask, give back, resize and pass on; with a limit on addresses it is the C library's alone."""
    command = f"ulimit -v {limit_kb}; exec {stress}"
    done = subprocess.run(
        ["sh", "-c", command], env=preloading(dict(os.environ)), capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("good\n", 0)


def test_blocks_are_given_out_again_after_a_fork() -> None:
    """As each episode begins: the child has its parent's, and what it changes is its own."""
    program = """
import os
kept = [bytes([n % 256]) * (n % 700) for n in range(5000)]
for child in range(3):
    if os.fork() == 0:
        mine = [b"x" * (n % 700) for n in range(20000)]
        os._exit(any(kept[n] != bytes([n % 256]) * (n % 700) for n in range(5000)))
    assert os.wait()[1] == 0
print(all(kept[n] == bytes([n % 256]) * (n % 700) for n in range(5000)))
"""
    environment = preloading({**os.environ, "PYTHONMALLOC": "malloc"})  # else Python pools small ones itself
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_it_is_built_and_goes_after_what_is_preloaded_already(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allocator_library() == str(LIBRARY)
    assert preloading({"A": "b"}) == {"A": "b", "LD_PRELOAD": str(LIBRARY)}
    assert preloading({"LD_PRELOAD": "/x.so"})["LD_PRELOAD"] == f"/x.so:{LIBRARY}"
    monkeypatch.setenv(getters.SWITCH, "0")
    assert preloading({"A": "b"}) == {"A": "b"}


def test_one_of_another_source_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in LIBRARY.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("envs.allocator.LIBRARY", tmp_path / LIBRARY.name)
    assert allocator_library()
    (tmp_path / "later").mkdir()
    for path in LIBRARY.parent.iterdir():
        (tmp_path / "later" / path.name).write_bytes(path.read_bytes() + b"\n// later\n")
    monkeypatch.setattr("envs.allocator.LIBRARY", tmp_path / "later" / LIBRARY.name)
    assert not allocator_library()


def test_a_worker_runs_with_it() -> None:
    """Asked of the running process, not of its settings: it is there, and so are the addresses that it cuts up."""
    with RemoteSimulation(WorkerSetup(make_setup(load("single")))) as worker:
        worker.begin(1)
        assert worker._process is not None
        maps = Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert str(LIBRARY) in maps
    stretches = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps.splitlines()]
    assert max(end - begin for begin, end in stretches) > 2**34
