"""The vectors of integrations/contracts."""

import json
import pathlib

from codelab_auth.keys import parse

FOLDER = pathlib.Path(__file__).parents[2] / "contracts"
DOCUMENT = json.loads((FOLDER / "validation.json").read_text())
SCENARIOS = json.loads((FOLDER / "client.json").read_text())["scenarios"]


class FixedKeys:
    """A key set that never changes."""

    def __init__(self, document):
        self._keys = parse(document)

    async def find(self, kid):
        return self._keys.get(kid)


def case(name):
    return next(case for case in DOCUMENT["cases"] if case["name"] == name)
