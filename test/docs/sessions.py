# What stays between the blocks of a document: a psql, or an interpreter of Python, JavaScript or Java, as a reader's
#   second terminal does.
# Called by: blocks.py, for blocks with the mark session=NAME.
# Must never: wait for an answer for ever.

import os
import pathlib
import re
import selectors
import subprocess
import time

HERE = pathlib.Path(__file__).parent
END = "--end of the block--"
JARS = ":".join(f"/usr/share/java/{jar}.jar" for jar in ("HikariCP", "postgresql", "slf4j-api", "slf4j-simple"))
INTERPRETERS = {
    "python": ["/usr/bin/python3", "-B", "-u", str(HERE / "interpreter.py"), END],
    "js": ["node", str(HERE / "interpreter.mjs"), END],
    "java": ["jshell", "-s", "-J-Xmx256m", "-R-Xmx128m", "--class-path", JARS, "-"],
}
# What makes each print the end; the interpreters above do it by themselves when they read it.
ENDING = {"sql": f"\\echo {END}\n", "java": f'System.out.println("{END}");\n'}
FAILURE = {
    "sql": r"^(ERROR|FATAL|PANIC):|server closed the connection",
    "python": r"^Traceback \(most recent call last\):",
    "js": r"^Uncaught ",
    "java": r"^(Error:|Exception )",
}


class Session:
    def __init__(self, language, psql):
        # Its name is no application_name: documents set that themselves where it matters.
        argv = [*psql, "-P", "pager=off"] if language == "sql" else INTERPRETERS[language]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        bufsize=0)
        self.language = language

    def run(self, text, patience):
        """Whether the block did well, and what it printed; None if it does not come to an end."""
        self.process.stdin.write(f"{text}\n{ENDING.get(self.language, END + chr(10))}".encode())
        output = b""
        selector = selectors.DefaultSelector()
        selector.register(self.process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + patience
        while END.encode() not in output:
            if not selector.select(deadline - time.monotonic()):
                return None, output.decode(errors="replace") + "(no answer)"
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                break  # psql has left: its connection is lost
            output += piece
        text = output.decode(errors="replace").replace(END, "")
        return not re.search(FAILURE[self.language], text, re.M), text

    def close(self):
        self.process.kill()
        self.process.wait()
