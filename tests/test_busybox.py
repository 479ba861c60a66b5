"""Unmodified Debian programs say under `emu run` what they say on this host, byte for byte.

`POPEK_I386` names a directory into which the i386 packages busybox-static, klibc-utils and libklibc
were unpacked (`.ci/run` does that). Both sides get the same tree as their root, user 1000, no
environment but TZ and PATH, and the same standard input.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import platform
import random
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from emu.process.processor import DEFAULT
from tests.needs import missing

pytestmark = pytest.mark.heavy

USER = 1000
ENVIRONMENT = {"PATH": "/bin:/usr/lib/klibc/bin", "TZ": "UTC"}
LONG_AGO = 1_000_000_000
SECONDS = 300

POEM = b"""\
The machine that I am is not the machine that I seem:
each trap is a dream, and each dream is a trap.
Privileged, sensitive, silent -- POPF was the theme,
and the table of pages a map of a map.

A guest that is honest will ask and be told;
a guest that is subtle will measure the time.
The host has been counting since nineteen-seven-four,
and the count is exact, and the count is a rhyme.
"""


@dataclass(frozen=True)
class Said:
    """What a run left: streams, exit code, and the tree if it may be written."""

    code: int
    out: bytes
    err: bytes
    tree: dict[str, object]


@pytest.fixture(scope="session")
def packages() -> Path:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "i686"):
        missing("the other side of the comparison needs a Linux host that runs i386 programs")
    directory = os.environ.get("POPEK_I386")
    if not directory or not Path(directory, "bin", "busybox").exists():
        missing("POPEK_I386 does not name a directory with busybox-static for i386")
    return Path(directory)


@pytest.fixture(scope="session")
def trees(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The root of either side: the programs, and files to work on in /w."""
    root = tmp_path_factory.mktemp("trees") / "native"
    (root / "bin").mkdir(parents=True)
    (root / "dev").mkdir()
    (root / "dev" / "null").touch()  # the guest has its own
    shutil.copy(packages / "bin" / "busybox", root / "bin")
    shutil.copytree(packages / "usr/lib/klibc", root / "usr/lib/klibc", symlinks=True)
    for interpreter in [*packages.glob("lib/klibc-*.so"), *packages.glob("usr/lib/klibc-*.so")]:
        (root / "lib").mkdir(exist_ok=True)
        shutil.copy(interpreter, root / "lib")
    fill(root / "w")
    return {"native": settle(root), "emulated": copy(root, root.with_name("emulated"))}


def copy(root: Path, to: Path) -> Path:
    """Another tree for the side that `to` names."""
    shutil.copytree(root, to, symlinks=True)
    return settle(to)


def fill(work: Path) -> None:
    """The files that the commands work on."""
    rng = random.Random(0)
    words = [f"{rng.choice('abcdefgh')}{rng.randrange(40)}" for _ in range(120)]
    table = [f"{w}:{rng.randrange(1000)}:{rng.choice('xyz')}" for w in words[:40]]
    (work / "tree" / "deep" / "deeper").mkdir(parents=True)
    files = {
        "poem": POEM, "empty": b"", "words": "\n".join(words).encode() + b"\n",
        "numbers": b"\n".join(b"%d" % rng.randrange(-500, 500) for _ in range(80)) + b"\n",
        "table": "\n".join(table).encode() + b"\n", "binary": rng.randbytes(3000),
        "big": POEM * 200, "dos": POEM.replace(b"\n", b"\r\n"), "no-newline": b"one\ntwo",
        "poem.gz": gzip.compress(POEM, mtime=0),
        "words.gz": gzip.compress(b"a b c\n" * 500, mtime=0),
        "tree/one": b"1\n", "tree/deep/two.txt": b"22\n", "tree/deep/deeper/three.txt": b"333\n",
        "script": b"echo script $0 $# \"$@\"\nexit 3\n", "poem.tar": archive(),
        "sums": b"d41d8cd98f00b204e9800998ecf8427e  empty\n",
    }  # fmt: skip
    for name, content in files.items():
        (work / name).write_bytes(content)
    (work / "link").symlink_to("poem")
    (work / "script").chmod(0o755)


def archive() -> bytes:
    """A tar file with two members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {"x/poem": POEM, "x/short": b"short\n"}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uid, member.gid = len(content), LONG_AGO, USER, USER
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def settle(root: Path) -> Path:
    """Give all one time, and to the user: `emu run` shows its own user's files as the guest's."""
    for path in [*root.rglob("*"), root]:
        if os.geteuid() == 0 and root.name == "native":
            os.chown(path, USER, USER, follow_symlinks=False)
        os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    return root


def picture(root: Path) -> dict[str, object]:
    """Names, modes and contents (see `digest`) below a directory."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        kind = path.lstat().st_mode
        content = digest(path.read_bytes()) if stat.S_ISREG(kind) else None
        found[str(path.relative_to(root))] = (
            stat.filemode(kind), content, path.readlink() if path.is_symlink() else None,
        )  # fmt: skip
    return found


def digest(data: bytes) -> object:
    """Short contents as they are, long ones as something that a message can show."""
    return data if len(data) < 200 else (len(data), hashlib.sha256(data).hexdigest())


def native(
    root: Path, argv: list[str], source: bytes, environment: dict[str, str] = ENVIRONMENT
) -> subprocess.CompletedProcess[bytes]:
    """Run on the host, in the tree."""

    def enter() -> None:
        os.chroot(root)
        os.chdir("/w")
        os.setgroups([])
        os.setgid(USER)
        os.setuid(USER)

    options: dict[str, Any] = {"input": source, "capture_output": True, "env": environment}
    options |= {"timeout": SECONDS, "check": False}
    if os.geteuid() == 0:
        name = [Path(argv[0]).name, *argv[1:]]
        return subprocess.run(name, executable=argv[0], preexec_fn=enter, **options)
    prefix = ["unshare", "--user", f"--map-user={USER}", f"--map-group={USER}"]
    prefix += ["--root", str(root), "--wd", "/w", "--"]
    return subprocess.run([*prefix, *argv], **options)


def emulated(
    root: Path,
    argv: list[str],
    source: bytes,
    engine: str,
    *,
    writable: bool,
    environment: dict[str, str] = ENVIRONMENT,
    cpu: str = DEFAULT,
) -> subprocess.CompletedProcess[bytes]:
    """Run under `emu run`, in the tree."""
    options = ["--engine", engine, "--root", str(root), "--cwd", "/w", "--cpu", cpu]
    options += ["--writable"] if writable else []
    for name, value in environment.items():
        options += ["--env", f"{name}={value}"]
    command = [sys.executable, "-c", "from emu.cli import main; main()", "run", *options]
    return subprocess.run(
        [*command, str(root / argv[0][1:]), *argv[1:]],
        input=source, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def sides(
    trees: dict[str, Path], argv: list[str], source: bytes = b"", *,
    engine: str = "native", written: Path | None = None,
) -> tuple[Said, Said]:  # fmt: skip
    """What host and emulator say; below `written` each gets a tree of its own, to change."""
    if not argv[0].startswith("/"):
        argv = ["/bin/busybox", *argv]
    if written is not None:
        trees = {side: copy(tree, written / side) for side, tree in trees.items()}
    host = native(trees["native"], argv, source)
    ours = emulated(trees["emulated"], argv, source, engine, writable=written is not None)
    after = {s: picture(t / "w") if written is not None else {} for s, t in trees.items()}
    code = host.returncode if host.returncode >= 0 else 128 - host.returncode
    return (
        Said(code, host.stdout, host.stderr, after["native"]),
        Said(ours.returncode, ours.stdout, ours.stderr, after["emulated"]),
    )


def parse(trees: dict[str, Path], command: str) -> tuple[list[str], bytes]:
    """The words of a command, and what a `<` at its end names as standard input."""
    words, _, source = command.partition(" < ")
    return shlex.split(words), (trees["native"] / "w" / source).read_bytes() if source else b""


PURE = """
true
false
echo hello, world
echo -n -e a\\tb\\n\\x41
printf '%s|%5d|%-5s|%x|%o|%c' text 42 left 255 8 z
printf '%d\\n' 1 2 notanumber
expr 6 '*' 7
expr length abcdef
expr 5 / 0
basename /usr/lib/libc.so .so
dirname /usr/lib/libc.so
id
whoami
pwd
env
uname -s
test -f poem
test -d poem
[ 3 -gt 2 ]
factor 360 97 1000000007
cal 2 2000
dc -e '2 10 ^ p'
date -u -d @1000000000 +%Y-%m-%dT%H:%M:%S
nosuchapplet
""".strip().splitlines()

FILES = """
cat poem
cat poem numbers - < words
cat < big
cat big
cat -n poem
cat nosuchfile
cat poem nosuchfile empty
cat tree
tac poem
rev poem
nl poem
ls
ls -l
ls -la tree
ls -lnR tree
ls -1 -r
ls -i nosuchfile
ls -lL link
stat -c '%n %s %A %h %u %g %Y' poem tree link
readlink link
realpath link
sha256sum poem empty binary
md5sum poem words
md5sum -c sums
sha1sum < poem
sha512sum empty
cksum poem
crc32 poem
sort words
sort -r words
sort -s -k 1.2 words
sort -u words
sort -t : -k 3 -k 1r table
sort -c words
sed s/the/THE/g poem
sed -n '2,4p;$p' poem
sed -E 's/([a-z]+) ([a-z]+)/\\2 \\1/;/^$/d' poem
sed -e 1i\\first -e '/guest/a after' poem
sed y/abc/xyz/ nosuchfile
grep guest poem
grep -c a words
grep -vn a poem
grep -i -E '^(the|a) ' poem
grep -E 't{2}|ee+' poem
grep -o -w 'is' poem
grep nothing poem
grep -rl 2 tree
grep -F . nosuchfile
fgrep -x c3 words
cut -d : -f 1,3 table
cut -c 3-8 poem
head -n 3 poem
head -c 20 poem
tail -n 2 poem
tail -c 15 poem
tail -n +5 poem
head -n 1 poem words
tr a-z A-Z < poem
tr -d aeiou < poem
tr -cs a-z '\\n' < poem
wc poem big binary
wc -l < words
uniq words
uniq -c table
od -c poem
od -A x -t x1 binary
hexdump -C binary
xxd -l 64 binary
strings binary
fold -w 20 poem
paste words numbers
comm words numbers
diff poem dos
cmp poem big
cmp poem poem
expand poem
base64 binary
uuencode binary name
dd if=poem bs=10 count=3 skip=1
gzip -c poem
gzip -c -9 < words
gunzip -c poem.gz
gunzip -c < words.gz
gzip -t poem.gz
gzip -t poem
gunzip -c poem
tar tf poem.tar
tar tvf poem.tar
tar xOf poem.tar x/short
tar tf nosuchfile.tar
bzip2 -c poem
xargs echo < words
split --bogus
du -s nosuchfile
""".strip().splitlines()

SHELL = r"""
echo one; echo two >&2; exit 7
i=0; while [ $i -lt 50 ]; do i=$((i + 1)); done; echo $i
for w in a b "c d"; do echo "<$w>"; done
f() { echo "f $1 $#"; return 4; }; f x y; echo $?
echo $((7 * 6)) $((-7 / 2)) $((-7 % 3)) $((1 << 20)) $((0xff ^ 15)) $((3 > 2 ? 10 : 20))
case abc in a?c) echo match;; *) echo no;; esac
x=hello; echo ${x#he} ${x%lo} ${#x} ${y:-default} ${x:1:3} ${x/l/L}
trap 'echo bye' EXIT; echo working
trap 'echo caught' USR1; kill -USR1 $$; echo after
set -- a b c; shift; echo $1 $#; echo "$@"
echo *; echo t*/d*; echo [bp]*
cd tree; pwd; echo */*
if test -e poem && ! test -e prose; then echo yes; else echo no; fi
n=0; while read line; do n=$((n + 1)); done < poem; echo $n lines
IFS=:; while read a b c; do echo "$b-$a"; done < table
set -e; false; echo never
set -u; echo $undefined; echo never
echo "unterminated
. ./nosuchfile
. ./script; echo never
eval 'echo $((2+3))'; echo done
printf '%s\n' "$0" "$-"
until [ "$k" = xxx ]; do k=x$k; done; echo $k
a=1; { a=2; }; echo $a; unset a; echo ${a-unset}
local_() { local v=1; v=$((v+1)); echo $v; }; local_; echo "[$v]"
type cd; alias x=y; alias; command -v echo
read a b < numbers; echo "$a/$b"; test -t 0; echo $?
nosuchcommand; echo $?
ulimit -c 0; umask 027; umask
""".strip().splitlines()
PROCESSES = r"""
(exit 3); echo $?; for i in 1 2 3; do echo $i; done | sort -r
x=$(ls / | head -1); echo $x; echo `echo $(echo nested)`
sort poem | cut -c 1-9; yes | head -n 3; seq 3 | while read n; do echo $((n * n)); done
(sleep 1; echo late) & echo early; wait; sleep 5 & kill $!; wait $!; echo $?
trap 'echo term' TERM; (kill -TERM $$); echo after; sh -c 'kill -9 $$'; echo $?
xargs -n 3 echo < words | head -n 4; find tree/deep -name '*.txt' -exec cat {} ';' | sort
nosuch | cat; echo $?; { echo out; echo err >&2; } 2>&1 | sort
""".strip().splitlines()
"""Lines of which the host can do all without /proc: the shell's own applets, but no programs."""
SCRIPTS = [
    *SHELL,
    "while read l; do echo \"> $l\"; done <<END\nfirst $((1+1))\nsecond 'x'\nEND\necho end",
    "while read l; do echo \"> $l\"; done <<'END'\nraw $HOME\nEND\n",
    """\
fib() {
  if [ $1 -lt 2 ]; then r=$1; return; fi
  fib $(($1-1)); set -- $1 $r; fib $(($1-2)); r=$((r+$2))
}
fib 8; echo $r
""",
    """\
n=2
while [ $n -lt 60 ]; do
  d=2; p=1
  while [ $((d*d)) -le $n ]; do
    [ $((n % d)) = 0 ] && p=0 && break
    d=$((d+1))
  done
  [ $p = 1 ] && echo $n
  n=$((n+1))
done
""",
]

WRITING = r"""
cp poem copy
cp -r tree other
cp -p script kept
cp nosuchfile x
mv poem verse
mv tree/one tree/deep
mv nosuchfile x
rm poem link
rm -r tree
rm -f nosuchfile
rm nosuchfile
rm tree
mkdir -p new/dir/here
mkdir tree
rmdir tree/deep/deeper
ln -s target symbolic
ln poem hard
touch fresh
chmod 600 poem
chmod u+x,go-r words
gzip poem
gzip -9 big
gunzip poem.gz -f
gunzip words.gz
gzip -k words
tar cf made.tar tree/deep/deeper poem
tar xf poem.tar
tar xvf poem.tar x/short
dd if=binary of=part bs=100 skip=2 count=5
split -l 3 poem part-
tee copy second < poem
sed -i s/machine/engine/ poem
sort -o words words
truncate -s 100 poem
dos2unix dos
sh -c 'echo new > file; echo more >> file; : > empty2'
sh -c 'exec 3> out; echo three >&3; echo gone 3>&-'
sh -c 'set -C; echo x > poem'
find tree -type f -delete
patch -p0 < empty
unlink poem
""".strip().splitlines()

KLIBC = """
/usr/lib/klibc/bin/cat poem
/usr/lib/klibc/bin/cat nosuchfile
/usr/lib/klibc/bin/uname -s
/usr/lib/klibc/bin/readlink link
/usr/lib/klibc/bin/gzip -dc poem.gz
/usr/lib/klibc/bin/sh -c 'for i in 1 2 3; do echo $((i * i)); done; exit 5'
/usr/lib/klibc/bin/sh ./script a b
/usr/lib/klibc/bin/true
/usr/lib/klibc/bin/false
""".strip().splitlines()


UNORDERED = """
find tree
find tree -name '*.txt' -type f
find . -size +2k
find tree -maxdepth 1 -exec true {} ;
ls -U tree
du -a tree
grep -r 2 tree
/usr/lib/klibc/bin/ls
""".strip().splitlines()
"""Commands that tell directories in their own order, which is the host's file system's."""

FLOATING = """
seq 1 20
seq -w 8 3 30
sort -n numbers
sort -rn numbers
sort -t : -k 2n table
awk '{ print $1, NF }' poem
awk -F : '$2 > 500 { n++ } END { print n }' table
awk 'BEGIN { for (i = 0; i != 5; i++) print i * i }'
awk 'BEGIN { print 1 / 3, int(7.9), 2e10 / 7, 5 % 3.5, 1e300 * 1e300; printf "%.17g %e", 0.1, -0 }'
seq 0 0.1 1
seq -5 1e-1 -4.5
""".strip().splitlines()
"""Commands that read numbers into the x87."""


def on_engines(commands: list[str]) -> list[Any]:
    """Each command, every fourth on the python engine: it translates all anew in each process."""
    return [
        (command, "native" if index % 4 else "python") for index, command in enumerate(commands)
    ]


@pytest.mark.parametrize(("command", "engine"), on_engines([*PURE, *FILES]))
def test_applet(trees: dict[str, Path], command: str, engine: str) -> None:
    """An applet that only reads."""
    host, ours = sides(trees, *parse(trees, command), engine=engine)
    assert ours == host


@pytest.mark.parametrize(("command", "engine"), on_engines(UNORDERED))
def test_unordered(trees: dict[str, Path], command: str, engine: str) -> None:
    """The same lines, in whichever order."""
    host, ours = (
        replace(said, out=b"".join(sorted(said.out.splitlines(keepends=True))))
        for said in sides(trees, *parse(trees, command), engine=engine)
    )
    assert ours == host


@pytest.mark.parametrize(("command", "engine"), on_engines(FLOATING))
def test_floating(trees: dict[str, Path], command: str, engine: str) -> None:
    """An applet that computes with floating point."""
    host, ours = sides(trees, *parse(trees, command), engine=engine)
    assert ours == host


@pytest.mark.parametrize(("script", "engine"), on_engines(SCRIPTS))
def test_shell(trees: dict[str, Path], script: str, engine: str) -> None:
    """A script in the shell itself."""
    host, ours = sides(trees, ["sh", "-c", script], engine=engine)
    assert ours == host


@pytest.mark.parametrize("signal", ["TERM", "KILL", "SEGV", "USR2"])
def test_signal(trees: dict[str, Path], signal: str) -> None:
    """A program that ends by a signal ends `emu run` with the shell's code for it, and a word."""
    host, ours = sides(trees, ["sh", "-c", f"echo before; kill -{signal} $$; echo after"])
    assert (ours.code, ours.out) == (host.code, host.out)
    assert f"SIG{signal}" in ours.err.decode()


@pytest.mark.parametrize(("command", "engine"), on_engines(WRITING))
def test_writing(trees: dict[str, Path], tmp_path: Path, command: str, engine: str) -> None:
    """An applet that changes the tree leaves the same tree."""
    host, ours = sides(trees, *parse(trees, command), engine=engine, written=tmp_path)
    assert ours == host


@pytest.mark.parametrize(("command", "engine"), on_engines(KLIBC))
def test_klibc(trees: dict[str, Path], command: str, engine: str) -> None:
    """Programs with a shared library as their interpreter."""
    host, ours = sides(trees, *parse(trees, command), engine=engine)
    assert ours == host


@pytest.mark.parametrize("command", ["echo hello", "cat empty", "false", "cat nosuchfile"])
def test_reference(trees: dict[str, Path], command: str) -> None:
    """The reference engine too, where it does not take long."""
    host, ours = sides(trees, *parse(trees, command), engine="reference")
    assert ours == host


@pytest.mark.parametrize("script", PROCESSES)
def test_processes(trees: dict[str, Path], script: str) -> None:
    """Pipelines and jobs of the shell."""
    host, ours = sides(trees, ["sh", "-c", script])
    assert ours == host


def test_a_shell_that_executes_itself(trees: dict[str, Path]) -> None:
    """Applets that are programs of their own, by /proc/self/exe, which the host's tree lacks."""
    script = "echo a b c | wc -w; grep -c a words | wc -l; env -i A=b sh -c 'echo $A' | tr b c"
    argv = ["/bin/busybox", "sh", "-c", script]
    done = emulated(trees["emulated"], argv, b"", "native", writable=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"3\n1\nc\n", b"")
