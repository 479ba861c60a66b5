"""Debian's dynamic programs, in processes of their own, say what they say on this host.

`POPEK_I386_SHARED` names a directory into which i386 packages were unpacked: libc6 and what
`PROGRAMS` needs (`.ci/run` does that). Both sides get the same tree as their root, and dash runs
scripts in it that put shells, coreutils and compressors together.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emu.process.processor import DEFAULT
from tests.needs import missing
from tests.test_busybox import Said, copy, emulated, fill, native, picture, settle

pytestmark = pytest.mark.heavy

ENVIRONMENT = {"PATH": "/bin:/usr/bin", "TZ": "UTC", "LC_ALL": "C"}
PROGRAMS = ("bin/dash", "bin/ls", "usr/bin/sort", "bin/bzip2", "usr/bin/xz", "bin/gzip")


@pytest.fixture(scope="session")
def packages() -> Path:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "i686"):
        missing("the other side of the comparison needs a Linux host that runs i386 programs")
    directory = os.environ.get("POPEK_I386_SHARED")
    if not directory or not all(Path(directory, name).exists() for name in PROGRAMS):
        missing("POPEK_I386_SHARED does not name a directory with dash, coreutils and others")
    return Path(directory)


@pytest.fixture(scope="session")
def trees(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The root of either side: programs, shared objects, and files to work on in /w."""
    root = tmp_path_factory.mktemp("debian") / "native"
    ignored = shutil.ignore_patterns("share", "gconv", "dev", "include", "gcc")
    shutil.copytree(packages, root, symlinks=True, ignore=ignored)
    (root / "bin/sh").unlink(missing_ok=True)
    (root / "bin/sh").symlink_to("dash")
    (root / "dev").mkdir()
    (root / "dev" / "null").touch()  # the guest has its own
    fill(root / "w")
    return {"native": settle(root), "emulated": copy(root, root.with_name("emulated"))}


SHELL = {
    "here-documents": """
        name=world
        cat <<END | tr a-z A-Z
        hello $name, $(echo nested | rev_ 2>/dev/null || echo no rev), $((6 * 7))
        END
        cat <<'END'
        $name stays
        END
        sort -n <<END; echo done
        10
        9
        END
        """.replace("        ", ""),
    "statuses": """
        (exit 3); echo $?
        false | true; echo $?
        true | false; echo $?
        ! true; echo $?
        missing_program; echo $?
        ./poem; echo $?
        . ./nosuchfile; echo never
        """,
    "signals": """
        trap 'echo usr1' USR1; trap 'echo leaving $?' EXIT
        kill -USR1 $$; echo after
        (kill -TERM $(sh -c 'echo $PPID')); echo $?
        sh -c 'kill -KILL $$'; echo $?
        sh -c 'trap "" TERM; kill -TERM $$; echo ignored'
        (trap 'echo child; exit 4' TERM; kill -TERM $(sh -c 'echo $PPID'); sleep 9); echo $?
        exit 5
        """,
    "background": """
        for i in 3 1 2; do (sleep 0.$i; echo $i) & done
        wait
        sleep 5 & pid=$!
        kill $pid; wait $pid; echo $?
        (exit 6) & wait $!; echo $?
        yes | head -n 4 | cat -n
        """,
    "loops": """
        i=0; while [ $i -lt 5 ]; do i=$((i + 1)); printf '%d ' $i; done; echo
        seq 5 | while read n; do echo $((n * n)); done | paste -s -d +
        for f in tree/*; do case $f in *.txt) echo text $f;; tree/d*) echo dir $f;; *) echo $f
        esac; done
        x=$(for i in a b c; do echo $i; done | sort -r); echo "$x"
        echo a b c | wc -w; (exit 3); echo $?; x=$(ls / | head -n 1); echo $x
        f() { local a=$1; shift; echo "$a/$#"; [ $# -eq 0 ] || f "$@"; }; f 1 2 3
        set -- one 'two three'; for a; do echo "<$a>"; done; IFS=:; set -- $(echo a:b:c); echo $3
        """,
    "descriptors": """
        exec 3>out 4<poem
        read line <&4; echo "$line" >&3; read line <&4; echo "$line" >&3
        exec 3>&- 4<&-; cat out; echo x >&3 || echo closed
        { echo to out; echo to err >&2; } 2>&1 | sort
        echo a >f; echo b >>f; cat f f | wc -l; : >f; wc -c f; set -C; echo no >f; cat <f
        set +C; ls nosuchfile 2>/dev/null || echo $?
        """,
    "scripts": """
        printf '#!/bin/sh\\necho script $0 $# "$@"\\nexit 3\\n' >s; chmod +x s; ./s 1 '2 3'; echo $?
        printf '#!/bin/cat -n\\nline\\n' >c; chmod 755 c; ./c
        printf '#!/no/such\\n' >n; chmod 755 n; ./n; echo $?
        chmod 644 s; ./s; echo $?; sh s x; echo 'echo plain $1' >p; chmod 755 p; ./p y
        exec ./nothing; echo not reached
        """,
}

COREUTILS = {
    "text": """
        sort words | uniq -c | sort -k1,1nr -k2 | head -n 5; cut -d : -f 1,3 table | tail -n 3
        tr -cs a-z '\\n' <poem | sort -u | wc -l; comm -12 words words | wc -l; nl poem | head -n 3
        sort -t : -k2,2n table | head -n 3; join -t : -j 1 table table | wc -c; fold -w 30 poem
        fmt -w 40 poem; expand dos | od -c | head -n 3; tac poem | cut -c 1-10; paste words numbers
        pr -l 20 poem | head; ptx poem | head -n 4; csplit -s poem 3 && cat xx00; shuf -i 1-1
        """,
    "numbers": """
        seq -f %.3f 0 0.25 1; seq -w 8 11; factor 360 1000000007 18446744073709551617
        expr 7 '*' 6; numfmt --to=iec 123456789; printf '%5.2f|%x|%e\\n' 3.14159 255 12345.678
        echo $((7 / 2)) | od -A n -t x1; sort -g numbers | head -n 2; sort -n numbers | tail -n 2
        """,
    "sums": """
        md5sum poem empty binary; sha256sum big; sha512sum words; b2sum poem; cksum poem; sum poem
        base64 binary | head -n 2; base64 binary | base64 -d | cmp - binary && echo same
        split -b 700 binary part.; cat part.* | sha1sum; sha1sum binary; sha224sum <poem
        """,
    "files": """
        mkdir -p a/b/c; cp -r tree a; cp -p poem a/b; mv a/b/poem a/renamed; ln -s renamed a/link
        ln poem hard; stat -c '%n %s %A %h' poem a/link; rm poem; cat hard | wc; ls -lR tree | wc -l
        touch -d @1000 old; stat -c %Y old; chmod 600 old; ls -l old; rmdir a; rm -r a; ls
        truncate -s 5 old; dd if=hard bs=7 count=3 skip=1 2>/dev/null; readlink -f link; pwd
        mktemp -u /tmp/x.XXXX | wc -c; tee one two <words | wc -l; cmp one two
        test -s empty || echo e
        install -m 640 words new && stat -c %a new; unlink new; ls new
        basename /a/b.c .c; dirname /a/b
        """,
    "processes": """
        env -i A=1 env; nice echo nice; timeout 5 echo in time; timeout 0.2 sleep 5; echo $?
        timeout -s KILL 0.1 sleep 5; echo $?; nohup echo hup 2>/dev/null; tty; id -u
        date -u -d @1000000000; sleep 0.01 && echo slept; yes no | head -n 2
        stdbuf -o0 echo buffered
        """,
}

COMPRESSORS = {
    "gzip": """
        gzip -c -n poem | md5sum; gzip -9 -n -c big | gzip -d | md5sum; gunzip -c words.gz | wc
        cp big b; gzip -n b; ls b*; gzip -l b.gz; gzip -t b.gz && echo fine; gzip -d b.gz; cmp b big
        gzip -t poem; echo $?; zcat poem.gz | head -n 2; zgrep -c guest poem.gz
        """,
    "bzip2": """
        bzip2 -c poem | md5sum; bzip2 -k big; bzip2 -t big.bz2 && echo fine
        bzip2 -dc big.bz2 | cmp - big
        bzcat big.bz2 | tail -n 1; bzip2 -d poem; echo $?; seq 1 3000 | bzip2 -9 | bunzip2 | md5sum
        """,
    "xz": """
        xz -c poem | md5sum; xz -0 -k big; xz -t big.xz && echo fine; xz -l big.xz
        xzcat big.xz | cmp - big
        seq 1 3000 | xz -2 | xz -d | md5sum; xz -d poem; echo $?
        xz --format=lzma -c poem | xz -d | wc -l
        """,
}  # fmt: skip
SCRIPTS = {**SHELL, **COREUTILS, **COMPRESSORS}


LANGUAGES = {
    "lua": "lua5.4 work.lua",
    "perl": "perl work.pl",
    "python": "python3.11 -S -B work.py",
    "sockets": "python3.11 -S -B sockets.py; perl sockets.pl",
    "events": "python3.11 -S -B events.py",
    "tcl": "tclsh8.6 work.tcl",
    "sqlite": """
        sqlite3 -batch data.db <work.sql; sqlite3 data.db 'pragma integrity_check'
        wc -c <data.db
        """,
    "openssl": """
        for f in poem big binary; do openssl dgst -sha256 $f; openssl dgst -md5 $f; done
        openssl dgst -sha3-256 poem; openssl dgst -blake2b512 -r big
        key=00112233445566778899aabbccddeeff
        openssl enc -aes-256-cbc -K $key$key -iv $key -in big | openssl dgst -sha1
        openssl enc -base64 -in binary | tail -n 2; openssl prime 1000000007
        """,
    "tcc": """
        tcc -run work.c; echo $?; tcc work.c -o work; ./work a b; echo $?; wc -c <work
        tcc -c work.c -o work.o && tcc work.o -o again && cmp work again && echo same
        """,
    "gcc": """
        set -e
        gcc-12 -O1 -S work.c && md5sum work.s
        gcc-12 -c work.s -o work.o
        gcc-12 work.o -o work
        set +e; ./work; echo $?
        """,
}  # fmt: skip


@pytest.fixture(scope="session")
def languages(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A root with everything in it for either side; /w has what the programs work on."""
    root = tmp_path_factory.mktemp("languages") / "native"
    shutil.copytree(packages, root, symlinks=True, ignore=shutil.ignore_patterns("doc", "man"))
    (root / "bin/sh").unlink(missing_ok=True)
    (root / "bin/sh").symlink_to("dash")
    for name in ("dev", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "dev" / "null").touch()
    (root / "tmp").chmod(0o777)
    fill(root / "w")
    for path in Path(__file__).with_name("languages").iterdir():
        shutil.copy(path, root / "w")
    return {"native": settle(root), "emulated": copy(root, root.with_name("emulated"))}


@pytest.mark.parametrize("name", LANGUAGES)
def test_interpreters_and_compilers(
    languages: dict[str, Path], name: str, record_property: Callable[[str, object], None]
) -> None:
    """Scripts that do real work, and a program that is compiled, linked and run, all inside."""
    argv = ["/bin/dash", "-c", LANGUAGES[name]]
    host = native(languages["native"], argv, b"", ENVIRONMENT)
    began = time.perf_counter()
    ours = emulated(
        languages["emulated"], argv, b"", "auto", writable=True, environment=ENVIRONMENT
    )
    record_property("measured", f"{name}: {time.perf_counter() - began:.1f} s")
    assert host.stdout.count(b"\n") > 3, "the script does something"
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        host.returncode, host.stdout, host.stderr,
    )  # fmt: skip
    assert picture(languages["emulated"] / "w") == picture(languages["native"] / "w")


REPORTS = {
    "lua": "lua5.4 report.lua",
    "perl": "perl report.pl",
    "python": "python3.11 -S -B report.py",
    "tcl": "tclsh8.6 report.tcl",
    "sqlite": "sqlite3 -batch :memory: '.read report.sql'",
    "dash": ". ./report.sh",
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_second_of_work(languages: dict[str, Path], name: str) -> None:
    """What `program_figures` takes the time of."""
    argv = ["/bin/dash", "-c", REPORTS[name]]
    host = native(languages["native"], argv, b"", ENVIRONMENT)
    ours = emulated(
        languages["emulated"], argv, b"", "native", writable=True, environment=ENVIRONMENT
    )
    assert host.stdout.count(b"\n") > 3, "the script does something"
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        host.returncode, host.stdout, host.stderr,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["lua", "perl", "python", "openssl"])
def test_interpreters_on_a_pentium_4(
    languages: dict[str, Path], name: str, record_property: Callable[[str, object], None]
) -> None:
    """The same where the C library, and libcrypto, choose what they have written with SSE2."""
    argv = ["/bin/dash", "-c", LANGUAGES[name]]
    host = native(languages["native"], argv, b"", ENVIRONMENT)
    began = time.perf_counter()
    ours = emulated(
        languages["emulated"], argv, b"", "native", writable=True, environment=ENVIRONMENT,
        cpu="pentium4",
    )  # fmt: skip
    record_property("measured", f"{name}: {time.perf_counter() - began:.1f} s")
    assert host.stdout.count(b"\n") > 3, "the script does something"
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        host.returncode, host.stdout, host.stderr,
    )  # fmt: skip


def linked(root: Path, to: Path) -> Path:
    """A tree of which only /w, which scripts change, is copied."""
    shutil.copytree(
        root, to, symlinks=True, copy_function=os.link,
        ignore=lambda directory, names: ["w"] if Path(directory) == root else [],
    )  # fmt: skip
    shutil.copytree(root / "w", to / "w", symlinks=True)
    return settle(to)


def sides(
    trees: dict[str, Path], script: str, written: Path, cpu: str = DEFAULT
) -> tuple[Said, Said]:
    """What host and emulator say to a script, each in a tree of its own."""
    argv = ["/bin/dash", "-c", script]
    roots = {side: linked(tree, written / side) for side, tree in trees.items()}
    host = native(roots["native"], argv, b"", ENVIRONMENT)
    ours = emulated(
        roots["emulated"], argv, b"", "auto", writable=True, environment=ENVIRONMENT, cpu=cpu
    )
    pictures = {side: picture(root / "w") for side, root in roots.items()}
    code = host.returncode if host.returncode >= 0 else 128 - host.returncode
    return (
        Said(code, host.stdout, host.stderr, pictures["native"]),
        Said(ours.returncode, ours.stdout, ours.stderr, pictures["emulated"]),
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_says_here(trees: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Streams, exit code and files, byte for byte."""
    host, ours = sides(trees, SCRIPTS[name], tmp_path)
    assert host.out.count(b"\n") > 3, "the script does something"
    assert ours == host


@pytest.mark.parametrize("name", ["text", "sums", "gzip", "xz"])
def test_a_script_on_a_pentium_4(trees: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The same with SSE2."""
    host, ours = sides(trees, SCRIPTS[name], tmp_path, "pentium4")
    assert ours == host


def test_the_c_library_chooses_sse2(trees: dict[str, Path], tmp_path: Path) -> None:
    """On a Pentium 4, and nothing of it on the others."""
    root = trees["emulated"]
    for cpu, used in (("pentium4", True), ("pentium3", False), ("pentium2", False)):
        covered = tmp_path / cpu
        options = ["--cpu", cpu, "--root", str(root), "--coverage", str(covered)]
        command = [sys.executable, "-m", "emu", "run", *options, str(root / "usr/bin/sort")]
        done = subprocess.run([*command, "/w/words"], capture_output=True, timeout=300, check=True)
        assert done.stdout
        assert ("pcmpeqb" in covered.read_text() and "xmm0" in covered.read_text()) == used


def test_engines_count_alike(trees: dict[str, Path]) -> None:
    """A pipeline of three programs is the same number of instructions on each engine, each time."""
    script = "echo c b a | tr ' ' '\\n' | sort; (exit 3); echo $?"
    facts = []
    for engine in ("auto", "native", "python"):
        root = trees["emulated"]
        options = ["--engine", engine, "--root", str(root), "--env", "PATH=/bin:/usr/bin"]
        command = [sys.executable, "-c", "from emu.cli import main; main()", "run", "--json"]
        done = subprocess.run(
            [*command, *options, str(root / "bin/dash"), "-c", script],
            capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.stdout == b"a\nb\nc\n3\n"
        facts.append(json.loads(done.stderr.splitlines()[-1]))
    assert len({f["instructions"] for f in facts}) == 1
    assert {f["exit_code"] for f in facts} == {0}
