# A Python that runs blocks one after the other in one namespace, as `python3 -m asyncio` does with what is typed: tasks
#   go on between blocks. A block without await runs outside of the loop, as some libraries refuse to work inside of one.
#   A block that begins with "# NAME.py" is what that file has in it.
# Called by: sessions.py, as interpreter.py END: a line END on its input ends a block, and is printed after its output.
# Must never: end because a block fails.

import ast
import asyncio
import inspect
import linecache
import re
import sys
import traceback
import types


def run(text, names, loop):
    file = re.match(r"# (\w+\.py)$", text, re.M)
    name = file.group(1) if file else "<block>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    code = compile(text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.iscoroutine(result):
        loop.run_until_complete(result)


def main():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Some libraries import what they are told by name, also from what is typed.
    sys.modules["__main__"] = types.ModuleType("__main__")
    names = vars(sys.modules["__main__"])
    block = []
    # The loop runs while the next line is waited for.
    while line := loop.run_until_complete(loop.run_in_executor(None, sys.stdin.readline)):
        if line.rstrip("\n") != sys.argv[1]:
            block.append(line)
            continue
        try:
            run("".join(block), names, loop)
        except Exception:
            traceback.print_exc(file=sys.stdout)
        block = []
        print(sys.argv[1], flush=True)


main()
