"""Whether what counts instructions reads them right, puts them down to whom they are, and fails where it must."""

import contextlib
import importlib.machinery
import importlib.util
import io
import pathlib
import tempfile
import unittest

import callgrind


def script(name):
    """A program of this folder as a module: its name has no ending."""
    path = str(pathlib.Path(__file__).with_name(name))
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


instructions = script("instructions")

# Two refreshes as callgrind writes them: rules, in which a line of the framework is inlined, and which sign four times,
# verify twice, and ask the allocator for as much as the framework does.
PROFILE = """\
version: 1
positions: line
events: Ir

ob=(1) /usr/bin/auth-service
fl=(1) /src/crates/auth-domain/src/rules.rs
fn=(1) auth_domain::rotate
10 {domain}
fi=(2) /registry/actix-http-3.9.0/src/h1/dispatcher.rs
77 60000
fe=(1)
12 20000
cob=(2) /usr/lib/libc.so.6
cfi=(3) malloc.c
cfn=(2) malloc
calls=6 0
13 4000
cob=(3) /usr/lib/libcrypto.so.3
cfi=(4) ???
cfn=(3) RSA_private_encrypt
calls={signatures} 0
14 9000000
cob=(3)
cfi=(4)
cfn=(4) RSA_public_decrypt
calls={verifications} 0
15 300000

fl=(2)
fn=(5) actix_http::h1::dispatcher::poll
20 140000
cob=(2)
cfi=(3)
cfn=(2)
calls=2 0
21 4000
cfi=(1)
cfn=(1)
calls=2 0
22 9384000

ob=(2)
fl=(3)
fn=(2)
0 8000

ob=(3)
fl=(4)
fn=(3)
0 9000000
fn=(4)
0 300000
"""
REFRESHES = 2
ACCEPTED = {
    "operations": {"signatures": 2, "verifications": 1},
    "stages": {"all but the signatures": 164_000, "domain": 62_000, "framework": 102_000},
}

COUNTED = {"conditions": {"machine": "x86_64", "rust": "1.95.0"}, "counted_with": {"valgrind": "3.19.0"}}


def profile(domain=100_000, signatures=4, verifications=2):
    text = PROFILE.format(domain=domain, signatures=signatures, verifications=verifications)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        return callgrind.read(pathlib.Path(file.name))


def figures(**changes):
    return instructions.Figures({"worker": profile(**changes)}, REFRESHES)


def judged(of):
    """Whether figures are in order, and what is said of them."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        is_in_order = instructions.judge(of.stages, instructions.operations_of_each([of]), ACCEPTED)
    return is_in_order, told.getvalue()


class Reading(unittest.TestCase):
    def test_each_line_belongs_to_its_function_and_its_file(self):
        own = profile().own
        rules = callgrind.Function(
            "/usr/bin/auth-service", "/src/crates/auth-domain/src/rules.rs", "auth_domain::rotate"
        )
        self.assertEqual(own[rules, rules.file], 120_000)
        self.assertEqual(own[rules, "/registry/actix-http-3.9.0/src/h1/dispatcher.rs"], 60_000)
        self.assertEqual(profile().total(), 9_628_000)

    def test_names_that_were_numbered_before_are_known_again(self):
        calls = {(caller.name, callee.name): number for (caller, callee), number in profile().calls.items()}
        self.assertEqual(calls["actix_http::h1::dispatcher::poll", "malloc"], 2)
        self.assertEqual(calls["auth_domain::rotate", "RSA_private_encrypt"], 4)

    def test_a_thread_is_known_by_what_only_it_runs(self):
        self.assertEqual(instructions.thread_of(profile()), "worker")


class PuttingDown(unittest.TestCase):
    def test_inlined_lines_are_their_files_and_allocations_are_whose_they_were_made_for(self):
        stages = figures().stages
        self.assertEqual(stages["domain"], (120_000 + 4_000) / REFRESHES)
        self.assertEqual(stages["framework"], (60_000 + 140_000 + 4_000) / REFRESHES)
        self.assertEqual(stages["signatures"], 9_300_000 / REFRESHES)
        self.assertEqual(stages[instructions.TOTAL], (124_000 + 204_000) / REFRESHES)

    def test_what_the_allocator_is_asked_is_counted(self):
        self.assertEqual(figures().calls["malloc"], 8 / REFRESHES)

    def test_what_works_by_the_clock_is_in_no_sum_but_signs_nothing_unseen(self):
        of_main = instructions.Figures({"main": profile()}, REFRESHES)
        self.assertEqual(of_main.stages[instructions.TOTAL], 0)
        self.assertEqual(of_main.operations["signatures"], 2)


class Judging(unittest.TestCase):
    def test_what_is_as_it_is_accepted_is_in_order(self):
        self.assertEqual(judged(figures()), (True, ""))

    def test_a_stage_that_takes_more_than_a_tenth_more_is_a_fault(self):
        is_in_order, told = judged(figures(domain=100_000 + 14_000))
        self.assertFalse(is_in_order)
        self.assertEqual(told, "instructions: domain: 69000 instructions a refresh, and 62000 are accepted\n")

    def test_many_stages_that_each_take_a_little_more_are_a_fault_together(self):
        of = figures()
        of.stages[instructions.TOTAL] *= 1.11
        self.assertFalse(judged(of)[0])

    def test_a_tenth_more_is_none(self):
        self.assertEqual(judged(figures(domain=100_000 + 12_000)), (True, ""))

    def test_what_takes_less_is_said_and_no_fault(self):
        is_in_order, told = judged(figures(domain=80_000))
        self.assertTrue(is_in_order)
        self.assertIn("domain: 52000 instructions a refresh, and 62000 are accepted: lower the figure", told)

    def test_one_signature_or_verification_more_or_less_is_a_fault(self):
        for changes, words in [
            ({"signatures": 6}, "signatures: 3 a refresh, and 2 are accepted"),
            ({"signatures": 2}, "signatures: 1 a refresh, and 2 are accepted"),
            ({"verifications": 4}, "verifications: 2 a refresh, and 1 are accepted"),
            ({"verifications": 3}, "verifications: 1.5 a refresh, and 1 are accepted"),
        ]:
            with self.subTest(words):
                self.assertEqual(judged(figures(**changes)), (False, f"instructions: {words}\n"))


class Conditions(unittest.TestCase):
    def unjudged(self, machine, rust="1.95.0", accepted=COUNTED, is_ci=False):
        return instructions.unjudged({"machine": machine, "rust": rust}, accepted, is_ci)

    def test_the_same_conditions_are_judged_whatever_it_was_counted_with(self):
        self.assertIsNone(self.unjudged("x86_64", is_ci=True))

    def test_another_compiler_is_a_fault_everywhere(self):
        for is_ci in [False, True]:
            is_fault, words = self.unjudged("x86_64", rust="1.96.0", is_ci=is_ci)
            self.assertTrue(is_fault)
            self.assertIn("count anew (--accept)", words)

    def test_another_machine_is_told_and_not_judged(self):
        is_fault, words = self.unjudged("aarch64", is_ci=True)
        self.assertFalse(is_fault)
        self.assertIn("NOT JUDGED", words)

    def test_where_commits_are_judged_nothing_accepted_is_a_fault(self):
        self.assertTrue(self.unjudged("x86_64", accepted={}, is_ci=True)[0])
        self.assertFalse(self.unjudged("x86_64", accepted={})[0])


if __name__ == "__main__":
    unittest.main()
