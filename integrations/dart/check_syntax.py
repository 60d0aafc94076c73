"""Parses the Dart files that are named, and fails on what is no Dart: all that can be done without its SDK."""

import pathlib
import sys
from collections.abc import Iterator

import tree_sitter
import tree_sitter_dart


def faults(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """What the grammar could not make sense of."""
    if node.type == "ERROR" or node.is_missing:
        yield node
    for child in node.children:
        yield from faults(child)


def main(names: list[str]) -> int:
    """The number of faults, each of which is printed."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_dart.language()))
    count = 0
    for name in names:
        for node in faults(parser.parse(pathlib.Path(name).read_bytes()).root_node):
            count += 1
            sys.stderr.write(f"{name}:{node.start_point.row + 1}: no Dart\n")
    return count


if __name__ == "__main__":
    sys.exit(1 if not sys.argv[1:] or main(sys.argv[1:]) else 0)
