"""Reads what `valgrind --tool=callgrind --separate-threads=yes --compress-pos=no` writes, and says whose the cost is.

A cost is known by the function it was spent in, the source file of that line (another one where a call was inlined)
and the program or library that holds the code. What a general library spends, such as an allocation or the copy of a
string, is put down to whoever asked for it.
"""

import collections
import re

# So many calls up whoever asked for something is looked for; only recursion leads further.
STEPS = 200

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
# Which names are written as numbers of which list.
LIST_OF = {"ob": 0, "cob": 0, "fl": 1, "fi": 1, "fe": 1, "cfi": 1, "cfl": 1, "fn": 2, "cfn": 2}


def read(path):
    """The profile in one file of callgrind's."""
    profile = Profile()
    lists = {}, {}, {}
    library = file = line_file = function = None
    callee, calls = {}, None
    for line in path.read_text(errors="replace").splitlines():
        if line[:1].isdigit():
            cost = int(line.split()[1])
            if calls is None:
                profile.own[function, line_file] += cost
                continue
            # The line after `calls=` is the cost of these calls.
            target = Function(callee.get("cob", library), callee.get("cfi", line_file), callee["cfn"])
            profile.below[function, target] += cost
            profile.calls[function, target] += calls
            callee, calls = {}, None
        elif line.startswith("calls="):
            calls = int(line.removeprefix("calls=").split()[0])
        elif match := NAME.fullmatch(line):
            kind, number, name = match.groups()
            if number:
                name = lists[LIST_OF[kind]].setdefault(number, name)
            match kind:
                case "ob":
                    library = name
                case "fl":
                    file = line_file = name
                case "fi" | "fe":
                    line_file = name
                case "fn":
                    function, line_file = Function(library, file, name), file
                case _:
                    callee["cfi" if kind == "cfl" else kind] = name
    return profile


def shares(profile, stage_of):
    """The instructions of each stage.

    `stage_of(function, file)` names the stage that such a line of a function is itself, and the function's own without
    a file; `None` is code that works for whoever called it.
    """
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
    for _ in range(STEPS):
        owed = above(owed, callers, home, spent)
    spent["nobody's"] += sum(owed.values())
    return spent


def above(owed, callers, home, spent):
    """Puts down what functions have spent to their callers, in proportion to what was spent on behalf of each.

    Gives what callers that work for others owe in their turn.
    """
    still = collections.Counter()
    for function, cost in owed.items():
        weight = sum(callers[function].values())
        if not weight:
            spent["nobody's"] += cost
        for caller, part in callers[function].items():
            if home[caller]:
                spent[home[caller]] += cost * part / weight
            else:
                still[caller] += cost * part / weight
    return still
