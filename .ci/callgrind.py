"""Reads what `valgrind --tool=callgrind --separate-threads=yes --compress-pos=no` writes, and says whose the cost is.

A cost is known by the function it was spent in, the source file of that line (another one where a call was inlined) and
the program or library that holds the code. What a general library spends, such as an allocation or the copy of a string,
is put down to whoever asked for it.
"""

import collections
import re

# A function: the library it lies in, the file it is written in, its name.
Function = collections.namedtuple("Function", "library file name")


class Profile:
    """What one thread did, or the difference between two of them."""

    def __init__(self):
        self.own = collections.Counter()  # (function, file of the line) -> instructions
        self.below = collections.Counter()  # (caller, callee) -> instructions in the callee and below it
        self.calls = collections.Counter()  # (caller, callee) -> calls

    def __isub__(self, other):
        self.own.subtract(other.own)
        self.below.subtract(other.below)
        self.calls.subtract(other.calls)
        return self

    def __iadd__(self, other):
        self.own.update(other.own)
        self.below.update(other.below)
        self.calls.update(other.calls)
        return self

    def total(self):
        return sum(self.own.values())

    def files(self):
        return {file for _, file in self.own}


NAME = re.compile(r"(ob|fl|fi|fe|fn|cob|cfi|cfl|cfn)=(?:\((\d+)\))? ?(.*)")


def read(path):
    """The profile in one file of callgrind's."""
    profile = Profile()
    names = {"o": {}, "f": {}, "n": {}}
    library = file = line_file = function = None
    callee = {}
    called = False
    for line in path.read_text(errors="replace").splitlines():
        if called:
            # The line after `calls=` is the cost of these calls.
            key = Function(callee.get("ob", library), callee.get("fl", line_file), callee["fn"])
            profile.below[function, key] += int(line.split()[1])
            profile.calls[function, key] += calls
            callee, called = {}, False
        elif line[:1].isdigit():
            cost = line.split()
            profile.own[function, line_file] += int(cost[1]) if len(cost) > 1 else 0
        elif line.startswith("calls="):
            calls, called = int(line[6:].split()[0]), True
        elif match := NAME.fullmatch(line):
            kind, number, name = match.groups()
            table = names["o" if kind.endswith("ob") else "n" if kind.endswith("fn") else "f"]
            name = table.setdefault(number, name) if number and name else name or table[number]
            match kind:
                case "ob":
                    library = name
                case "fl":
                    file = line_file = name
                case "fi" | "fe":
                    line_file = name
                case "fn":
                    function, line_file = Function(library, file, name), file
                case "cob":
                    callee["ob"] = name
                case "cfi" | "cfl":
                    callee["fl"] = name
                case "cfn":
                    callee["fn"] = name
    return profile


def shares(profile, stage_of):
    """The instructions of each stage. `stage_of(function, file)` names the stage that such a line of a function is itself,
    and the function's own without a file; `None` is code that works for whoever called it."""
    spent = collections.Counter()
    owed = collections.Counter()  # what a function that works for others has spent itself
    home = {}
    for (function, file), cost in profile.own.items():
        home.setdefault(function, stage_of(function))
        stage = stage_of(function, file) or home[function]
        if stage:
            spent[stage] += cost
        else:
            owed[function] += cost
    callers = collections.defaultdict(dict)
    for (caller, callee), cost in profile.below.items():
        if caller != callee and cost > 0:
            callers[callee][caller] = cost
            for function in (caller, callee):
                home.setdefault(function, stage_of(function))
    # Step by step up the calls, in proportion to what was spent on behalf of each caller. Recursion is why it ends by a
    # count of steps; what is left then, or has no caller, is nobody's.
    for _ in range(200):
        if not owed:
            break
        above = collections.Counter()
        for function, cost in owed.items():
            weight = sum(callers[function].values())
            if not weight:
                spent["nobody's"] += cost
            for caller, part in callers[function].items():
                share = cost * part / weight
                if home[caller]:
                    spent[home[caller]] += share
                elif abs(share) >= 0.5:
                    above[caller] += share
                else:
                    spent["nobody's"] += share
        owed = above
    spent["nobody's"] += sum(owed.values())
    return spent
