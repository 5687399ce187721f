# The execution of a document: its fenced blocks, in order, as a reader would type them.
# Called by: test/docs/run, for each document with a fresh cluster: blocks.py DOCUMENT [SECTION]...; all sections unless named.
#   PGHOST, PGPORT and PGUSER lead to the cluster, the working directory is the project.
#   And by test/docs/newcomer, with PGLEAK_DOCS_ROOT: then all of it is run in that root, by the user postgres, and what is
#   marked root is run too, by the user newcomer; what is marked root=WAY only if PGLEAK_DOCS_WAY says so.
#   Prints "ok - ..." and "not ok - ..." for each block; exit status is the truth.
# Must never: know what a document says. What it cannot run literally, the document marks; CONTRIBUTING.md has the marks.

import os
import pathlib
import re
import subprocess
import sys
import time

from sessions import Session

PATIENCE = 60  # seconds, for what comes true a little later, and for one block
RUN_WITH = {"sh": ["bash", "-euo", "pipefail"], "bash": ["bash", "-euo", "pipefail"], "python": ["/usr/bin/python3", "-"],
            "js": ["node", "--input-type=module", "-"]}
PSQL = ["psql", "-X"]
ROOT = os.environ.get("PGLEAK_DOCS_ROOT")
CONF_IN_ROOT = "/etc/postgresql/15/main/postgresql.conf"


def at_place(argv, user="postgres"):
    """The command that runs another one where the document's blocks are run."""
    if ROOT is None:
        return argv
    directory = "/home/newcomer/pgleak" if user == "newcomer" else "/tmp"
    return ["chroot", ROOT, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
            "runuser", "-u", user, "--", "env", "-C", directory, *argv]


class Block:
    """```language mark mark=value, and what is in it."""

    def __init__(self, line, info, text):
        words = info.split()
        self.line = line
        self.language = words[0] if words else ""
        self.marks = dict((word.split("=", 1) + [""])[:2] for word in words[1:])
        self.text = text

    def is_to_be_run(self):
        if "norun" in self.marks:
            return False
        if "root" not in self.marks:
            return True
        return ROOT is not None and self.marks["root"] in ("", os.environ.get("PGLEAK_DOCS_WAY"))

    def is_output(self):
        return self.language == "text" and "output" in self.marks


def blocks_of(document, sections):
    """Those of the named sections, of all if none is named."""
    lines = document.read_text(encoding="utf-8").split("\n")
    place = 0
    section = None
    while place < len(lines):
        if lines[place].startswith("## "):
            section = lines[place][3:]
        fence = re.match(r"( *)```(.*)$", lines[place])
        place += 1
        if not fence:
            continue
        begin = place
        while lines[place].strip() != "```":
            place += 1
        indent = len(fence.group(1))
        if not sections or section in sections:
            yield Block(begin, fence.group(2), "\n".join(line[indent:] for line in lines[begin:place]) + "\n")
        place += 1


def essence(text):
    """
    What two outputs have to agree in: the words, not how wide a table is. Clock times, dates, process ids, ports and other
    numbers of four and more digits, and fractions of seconds, differ from run to run.
    """
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+\d\d(:\d\d)?)?", "TIME", text)
    text = re.sub(r"\d\d:\d\d:\d\d(\.\d+)?", "CLOCK", text)
    text = re.sub(r"\b\d+(\.\d+)?s\b", "SECONDS", text)
    text = re.sub(r"-?\b\d{4,}\b", "NUMBER", text)
    text = re.sub(r"-{2,}", "--", text)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return "\n".join(line for line in lines if line)


def agrees(expected, output):
    """Whether an output is the expected one; a "..." there stands for anything."""
    pattern = ".*".join(re.escape(part) for part in essence(expected).split("..."))
    return re.fullmatch(pattern, essence(output), re.S) is not None


class Document:
    def __init__(self, path, sections):
        self.path = path
        self.sections = sections
        self.sessions = {}
        self.background = []
        self.failed = 0

    def ask(self, query):
        return subprocess.run(at_place([*PSQL, "-Atqc", query]), capture_output=True, text=True, check=True).stdout.strip()

    def in_session(self, block):
        name = block.language, block.marks["session"]
        if name not in self.sessions:
            self.sessions[name] = Session(block.language, at_place(PSQL))
        return self.sessions[name].run(block.text, PATIENCE)

    def command(self, block, argv):
        try:
            result = subprocess.run(argv, input=block.text, capture_output=False, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True, timeout=10 * PATIENCE)
        except subprocess.TimeoutExpired as error:
            return None, f"{error.output or ''}(takes too long)"
        return result.returncode == 0, result.stdout

    def start(self, block, argv):
        """A program that goes on while the reader reads on."""
        program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        program.stdin.write(block.text.encode())
        program.stdin.close()
        self.background.append(program)
        return True, ""

    def conf(self, block):
        """Into postgresql.conf, and the server is restarted, which some settings need; a newcomer does that himself."""
        if ROOT is not None:
            return self.command(block, at_place(["tee", "-a", CONF_IN_ROOT]))
        with open(self.ask("SHOW config_file"), "a", encoding="utf-8") as file:
            file.write(block.text)
        data = self.ask("SHOW data_directory")
        result = subprocess.run(["pg_ctl", "restart", "-m", "fast", "-w", "-D", data, "-l", data + ".log"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return result.returncode == 0, "the server does not restart"

    def file(self, block):
        """What the reader saves; programs of later blocks find it in $TMPDIR."""
        pathlib.Path(os.environ["TMPDIR"], block.marks["file"]).write_text(block.text, encoding="utf-8")
        return True, ""

    def execute(self, block):
        if "file" in block.marks:
            return self.file(block)
        if "session" in block.marks:
            return self.in_session(block)
        if block.language == "sql":
            return self.command(block, at_place([*PSQL, "-v", "ON_ERROR_STOP=1"]))
        if block.language == "conf":
            return self.conf(block)
        if block.language in RUN_WITH:
            argv = at_place(RUN_WITH[block.language], "newcomer" if "root" in block.marks else "postgres")
            return (self.start if "background" in block.marks else self.command)(block, argv)
        return None, f"no way to run {block.language}"

    def run(self):
        blocks = list(blocks_of(self.path, self.sections))
        for place, block in enumerate(blocks):
            if block.language in ("text", ""):
                if block.language == "":
                    self.say(False, block, "has a language; text is for what is not run")
                continue
            if not block.is_to_be_run():
                print(f"# {self.path}:{block.line} is not run here: {' '.join(block.marks)}", flush=True)
                continue
            expected = blocks[place + 1] if place + 1 < len(blocks) and blocks[place + 1].is_output() else None
            self.check(block, expected)
        for program in self.background:
            os.killpg(program.pid, 9)
            program.wait()
        for session in self.sessions.values():
            session.close()
        return 1 if self.failed else 0

    def check(self, block, expected):
        """Runs a block. One that only looks is repeated until it shows what it should; one that fails may end its session."""
        looks = block.language == "sql" and "fails" not in block.marks and not re.search(
            r"\b(BEGIN|COMMIT|UPDATE|INSERT|DELETE|CREATE|ALTER|SET|ROLLBACK|pgleak\.(cancel|terminate))\b", block.text)
        deadline = time.monotonic() + PATIENCE
        while True:
            went_well, output = self.execute(block)
            is_right = went_well is not None and went_well == ("fails" not in block.marks)
            agreed = expected is None or agrees(expected.text, output)
            if (is_right and agreed) or not looks or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        self.say(is_right and agreed, block, "runs" if expected is None else "says what the page shows", output)

    def say(self, holds, block, what, output=""):
        print(f"{'ok' if holds else 'not ok'} - {self.path}:{block.line}: the block {what}", flush=True)
        if not holds:
            self.failed += 1
            print("\n".join("#   " + line for line in output.split("\n")), flush=True)


def main():
    return Document(pathlib.Path(sys.argv[1]), sys.argv[2:]).run()


if __name__ == "__main__":
    sys.exit(main())
