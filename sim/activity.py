"""Makes Verilator's C++ skip what cannot have changed.

Verilator evaluates all logic of a clock domain at every edge. Most of this design waits for a UART
nearly always, so nearly all of that work repeats the results of the clock before. This pass
takes the code that Verilator generated for the clock edge, as a list of statements, and regroups
it into chunks that run only if a variable they read has changed since they last ran:

* Statements may be reordered as long as no two that touch a common variable (one of them writing)
  change places. All writers of a variable, and readers between them, stay in one chunk.
* Every chunk has a bit. Chunks run in order; a chunk clears its bit, runs, and sets the bits of
  all chunks that read a variable whose value is now another one, or a memory that was written; a
  chunk that would change something at every clock sets its own. Bits of later chunks are
  honoured in the same pass, bits of earlier ones (they read the value of the clock before) in
  the next.

A chunk depends on nothing but the variables it reads, so a chunk whose bit is clear would have
written what is there already: results are those of Verilator, bit for bit. The generated code is
read strictly; whatever does not look as expected raises :class:`Unexpected`, and the caller
compiles the code as Verilator wrote it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Unexpected", "add_filter"]

FILES = 4                   # so that several compilers can share the work
STRIDE = 4                  # words of bits that are looked at together: most of them are clear
HEADER = "farside.h"        # what all of them see
LOCALS = "farside_locals."  # where variables of Verilator's functions live on between clocks


class Unexpected(Exception):
    """The generated code has a form that this pass does not know."""


@dataclass
class _Statement:
    text: str
    reads: set[str]
    writes: set[str]
    arrays: set[str]        # among ``writes``: memories, of which one element is written
    scope: str = ""


# -- reading the generated code --------------------------------------------------------------


_LVALUE = re.compile(r"(?:^|(?<=[;{}]))\s*(?:vlSelfRef\.|farside_locals\.)?"
                     r"([A-Za-z_]\w*)((?:\s*\[[^;{}]*?\])*)\s*=(?!=)")
_CALL = re.compile(r"(?:^|(?<=[;{}]))\s*(VL_\w+)\((.*?)\);", re.DOTALL)
_MEMBER = re.compile(r"vlSelfRef\.([A-Za-z_]\w*)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"^[\dxa-fA-F]+U?$")
_FUNCTION = r"^void {name}\({root}\* vlSelf\) {{\n(.*?)^}}\n"
_LOCAL = re.compile(r"^    ([A-Za-z]\w*(?:<\d+>)?(?:/\*[\d:]+\*/)?) ([A-Za-z_]\w*);$", re.MULTILINE)
_EXTERN = re.compile(r"^extern const .*;$", re.MULTILINE)


def _split(body: str) -> Iterator[str]:
    """Top-level statements; an ``if`` with all its branches is one."""
    depth = parens = start = at = 0
    while at < len(body):
        character = body[at]
        at += 1
        if character in "([":
            parens += 1
        elif character in ")]":
            parens -= 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        ended = depth == 0 and parens == 0 and (
            character == ";"
            or (character == "}" and not body[at:].lstrip().startswith("else")))
        if ended:
            text = body[start:at].strip()
            start = at
            if text:
                yield text
    if body[start:].strip():
        raise Unexpected(f"unfinished statement {body[start:].strip()[:60]!r}")


class _Design:
    """The clock edge of one design, as statements."""

    def __init__(self, directory: Path, prefix: str) -> None:
        self.root = f"{prefix}___024root"
        self.files = {path: path.read_text()
                      for path in sorted(directory.glob(f"{self.root}__*.cpp"))}
        self.locals: dict[str, str] = {}
        self.externs: set[str] = set()
        self.statements: list[_Statement] = []
        header = (directory / f"{self.root}.h").read_text()
        self.memories = set(re.findall(r"VlUnpacked<[^;]*> ([A-Za-z_]\w*);", header))
        for text in self.files.values():
            self.externs.update(_EXTERN.findall(text))

        edge = self._body(f"{self.root}___eval_nba")
        calls = re.fullmatch(
            r"\s*if \(\(1ULL & vlSelfRef\.__VnbaTriggered\[0U\]\)\) \{\s*((?:\w+\(vlSelf\);\s*)+)"
            r"\}\s*", edge)
        if not calls:
            raise Unexpected("the clock edge is not one list of functions")
        self.functions = re.findall(r"(\w+)\(vlSelf\);", calls[1])
        for number, name in enumerate(self.functions):
            self._read(number, self._body(name))
        # What is written elsewhere, or nowhere (the ports), is watched from outside.
        written = {name for one in self.statements for name in one.writes}
        read = {name for one in self.statements for name in one.reads}
        self.watched = {name for name in read - written if name not in self.memories}
        self.inputs_first: list[str] = []
        for text in self.files.values():
            for found in re.finditer(_FUNCTION.format(name=rf"({self.root}___ico_\w+)",
                                                      root=self.root),
                                     text, re.DOTALL | re.MULTILINE):
                self.inputs_first.append(found[1])
                for one in _split(_without_locals(found[2])[1]):
                    self.watched |= self._statement(one, {}).writes & read

    def _body(self, name: str) -> str:
        pattern = re.compile(_FUNCTION.format(name=name, root=self.root), re.DOTALL | re.MULTILINE)
        bodies = [found[1] for text in self.files.values() for found in pattern.finditer(text)]
        if len(bodies) != 1:
            raise Unexpected(f"{len(bodies)} bodies of {name}")
        return _without_locals(bodies[0])[1] if "___eval_nba" in name else bodies[0]

    def _read(self, number: int, text: str) -> None:
        declared, body = _without_locals(text)
        names = {}
        for kind, name in _LOCAL.findall(declared):
            names[name] = f"f{number}_{name}"
            self.locals[names[name]] = kind.split("/*")[0]
        for one in _split(body):
            self.statements.append(self._statement(one, names))

    def _statement(self, text: str, names: dict[str, str]) -> _Statement:
        """Reads and writes of one statement, with locals renamed to what they are kept in."""
        def rename(found: re.Match[str]) -> str:
            return LOCALS + names[found[0]] if found[0] in names else found[0]

        text = re.sub(r"(?<![\w.])[A-Za-z_]\w*", rename, text) if names else text
        kept = set(names.values())

        def variables(part: str) -> set[str]:
            return set(_MEMBER.findall(part)) | (set(_WORD.findall(part)) & kept)

        writes, arrays = set(), set()
        reads = variables(_LVALUE.sub(lambda found: found[0].replace(found[1], "", 1), text))
        for name, index in _LVALUE.findall(text):
            writes.add(name)
            if name in self.memories:
                arrays.add(name)
            elif index:
                reads.add(name)         # part of a wide variable: the rest stays
        for function, arguments in _CALL.findall(text):
            first = next((part for part in arguments.split(",")
                          if not _NUMBER.match(part.strip())), "")
            target = variables(first)
            if len(target) != 1:
                raise Unexpected(f"{function} writes to {first.strip()!r}")
            writes |= target
        if not writes:
            raise Unexpected(f"a statement without effect: {text[:60]!r}")
        scope = min(writes).split("__DOT__")
        return _Statement(text, reads, writes, arrays, ".".join(scope[:-1]))


def _without_locals(body: str) -> tuple[str, str]:
    declared, found, rest = body.partition("    // Body\n")
    if not found:
        raise Unexpected("a function without a body")
    return declared.partition("    // Locals\n")[2], rest


# -- grouping --------------------------------------------------------------------------------


def _conflicts(statements: list[_Statement]) -> list[set[int]]:
    """For each statement, the earlier ones that must stay before it."""
    before: list[set[int]] = [set() for _ in statements]
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(statements):
        for name in one.reads:
            if name in writer:
                before[number].add(writer[name])
            readers[name].append(number)
        for name in one.writes:
            if name in writer:
                before[number].add(writer[name])
            before[number].update(readers.pop(name, ()))
            writer[name] = number
        before[number].discard(number)
    return before


def _together(statements: list[_Statement], before: list[set[int]]) -> list[int]:
    """Group of each statement: what one variable or a circle of dependencies holds together."""
    group = list(range(len(statements)))

    def find(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    writers: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(statements):
        for name in one.writes:
            writers[name].append(number)
    for number, one in enumerate(statements):
        for name in one.reads | one.writes:
            all_of_them = writers.get(name, ())
            if len(all_of_them) > 1 and all_of_them[0] <= number <= all_of_them[-1]:
                group[find(number)] = find(all_of_them[0])

    def dependencies() -> dict[int, set[int]]:
        """Of each group, those before it; groups in a circle have become one."""
        while True:
            edges: dict[int, set[int]] = {find(number): set() for number in range(len(statements))}
            for number, earlier in enumerate(before):
                for one_before in earlier:
                    if find(one_before) != find(number):
                        edges[find(number)].add(find(one_before))
            circles = [circle for circle in _strong(edges) if len(circle) > 1]
            if not circles:
                return edges
            for circle in circles:
                for member in circle[1:]:
                    group[find(member)] = find(circle[0])

    order = _unite_cheaply(statements, dependencies(), [find(n) for n in range(len(statements))])
    return [order.find(find(number)) for number in range(len(statements))]


SMALL = 400     # characters of code that cost no more than waking up a chunk for them

# Registers that change at every clock, by the end of their names. What depends on them, or writes
# them, runs at every clock anyway, so it may as well run together. A wrong name costs time,
# nothing else.
RESTLESS = re.compile(
    r"__DOT__(uart_tx__DOT__clocks|ticker__DOT__left|registers__DOT__clock|_cycles|core__DOT__now)$")

# Registers of a few bits that so much depends on that it is cheaper to write them at every clock
# than to run all of that when they might change.
PULSES = re.compile(r"__DOT__engine__DOT__(tick\w*|unit)$")

# Components that work at every clock while bytes come, or at every bit while they go: each runs as
# a whole, not as a dozen chunks that wake each other.
BUSY = re.compile(r"^(?:f\d+_)?(?:__Vdly__)?(.*__DOT__(?:uart_rx|line"
                  r"|engine(?=__DOT__(?:uart_tx|timer|byte_out|tick|unit))))__DOT__")


class _Order:
    """Groups in their partial order, as sets of bits: which must run before and after which."""

    def __init__(self, edges: dict[int, set[int]]) -> None:
        self.groups = [circle[0] for circle in _strong(edges)]      # dependencies come first
        self._bit = {of: 1 << number for number, of in enumerate(self.groups)}
        self._before = dict.fromkeys(self.groups, 0)
        self._after = dict.fromkeys(self.groups, 0)
        for of in self.groups:
            for other in edges[of]:
                self._before[of] |= self._bit[other] | self._before[other]
        for of in reversed(self.groups):
            for other in edges[of]:
                self._after[other] |= self._bit[of] | self._after[of]
        self._united = {of: of for of in self.groups}

    def find(self, of: int) -> int:
        while self._united[of] != of:
            of = self._united[of]
        return of

    def unite(self, one: int, other: int) -> bool:
        """Make them one group; false if they are one, or if anything must run between them."""
        one, other = self.find(one), self.find(other)
        both = self._bit[one] | self._bit[other]
        before = (self._before[one] | self._before[other]) & ~both
        after = (self._after[one] | self._after[other]) & ~both
        if one == other or before & after:
            return False
        self._united[other] = one
        self._bit[one] = both
        self._before[one], self._after[one] = before, after
        for of in self._members(before):
            self._after[of] |= both | after
        for of in self._members(after):
            self._before[of] |= both | before
        return True

    def _members(self, bits: int) -> Iterator[int]:
        while bits:
            of = self.find(self.groups[bits.bit_length() - 1])
            yield of
            bits &= ~self._bit[of]


def _unite_cheaply(statements: list[_Statement], edges: dict[int, set[int]],
                   group: list[int]) -> _Order:
    """Unite groups with others whose every run might concern them anyway.

    Those are groups of at most three times ``SMALL`` that have something to do at every clock;
    those of one component that is ``BUSY``; and small ones that read the same, or that read no
    more than one just before reads or writes. What never changes after the start (lengths of
    bits) does not count.
    """
    reads: dict[int, set[str]] = defaultdict(set)
    writes: dict[int, set[str]] = defaultdict(set)
    size: dict[int, int] = defaultdict(int)
    written = {name for one in statements for name in one.writes}
    settled = {name for one in statements if not one.reads & written for name in one.writes}
    for number, of in enumerate(group):
        reads[of] |= statements[number].reads - settled
        writes[of] |= statements[number].writes
        size[of] += len(statements[number].text)
    order = _Order(edges)
    alike: dict[object, list[int]] = defaultdict(list)      # by what they are united for

    def join(of: int, others: list[int]) -> bool:
        return any(order.unite(other, of) for other in others)

    def is_restless(of: int) -> bool:
        return (any(map(RESTLESS.search, reads[of] | writes[of]))
                or any(map(PULSES.search, writes[of])))

    for of in order.groups:
        reason: object = None
        busy = BUSY.match(min(writes[of]))
        if size[of] <= 3 * SMALL and is_restless(of):
            reason = "restless"
        elif busy:
            reason = busy[1]
        elif size[of] <= SMALL:
            reason = frozenset(reads[of])
        if reason and not join(of, alike[reason]):
            alike[reason].append(of)
        if size[of] <= SMALL and not (busy and busy[1].endswith("engine")):
            # What sends does little between two bits: it stays apart from what runs all the time.
            join(of, [other for other in sorted(edges[of])
                      if reads[of] <= reads[other] | writes[other]])
    return order


def _strong(edges: dict[int, set[int]]) -> list[list[int]]:
    """Strongly connected components (Tarjan, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    inside: set[int] = set()
    found = []
    for start in list(edges):
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        inside.add(start)
        while work:
            node, following = work[-1]
            for other in following:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    inside.add(other)
                    work.append((other, iter(edges.get(other, ()))))
                    break
                if other in inside:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        inside.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    found.append(component)
    return found


def _schedule(statements: list[_Statement], before: list[set[int]],
              group: list[int]) -> list[list[int]]:
    """The groups in a legal order that stays within one module as long as it can.

    Larger chunks than these were slower, the larger the more (24 statements a chunk cost twice
    the time, since some of them nearly always have something to do) unless all of one works at
    the same time (``BUSY``).
    """
    members: dict[int, list[int]] = defaultdict(list)
    for number, of in enumerate(group):
        members[of].append(number)
    needs = {of: {group[earlier] for number in numbers for earlier in before[number]} - {of}
             for of, numbers in members.items()}
    feeds: dict[int, list[int]] = defaultdict(list)
    for of, needed in needs.items():
        for other in needed:
            feeds[other].append(of)
    missing = {of: len(needed) for of, needed in needs.items()}
    ready: dict[str, list[int]] = defaultdict(list)

    def offer(of: int) -> None:
        ready[statements[members[of][0]].scope].append(of)

    for of in sorted(members):
        if not missing[of]:
            offer(of)
    chunks: list[list[int]] = []
    left = len(members)
    while left:
        scope = max(ready, key=lambda name: (len(ready[name]), name))
        while ready[scope]:
            of = ready[scope].pop(0)
            chunks.append(members[of])
            left -= 1
            for other in feeds[of]:
                missing[other] -= 1
                if not missing[other]:
                    offer(other)
        del ready[scope]
    return chunks


# -- writing ---------------------------------------------------------------------------------


_PRELUDE = """\
template <typename T> inline bool farside_differs(const T &one, const T &other) {
    return one != other;
}
template <std::size_t N> inline bool farside_differs(const VlWide<N> &one,
                                                     const VlWide<N> &other) {
    return std::memcmp(&one, &other, sizeof one) != 0;
}
"""


# Runs the chunks whose bit is set in a word; one that runs may set bits of those after it.
_RUN = """\
[[gnu::always_inline]] static inline void farside_run(unsigned long long &active,
                                                      void (*const *chunks)(ROOT*), ROOT* vlSelf) {
    unsigned long long later = ~0ULL;
    while (const unsigned long long bits = active & later) {
        const unsigned long long lowest = bits & -bits;
        active ^= lowest;
        later = -(lowest << 1);
        chunks[__builtin_ctzll(bits)](vlSelf);
    }
}
"""

# Runs a clock twice from the same state, with the filter and with every chunk, and compares all
# of the state afterwards.
_CHECK = """\
bool farside_check_clock(ROOT* vlSelf) {
    static_assert(sizeof farside_active == 8 * WORDS);
    struct Copy {
        unsigned char root[sizeof(ROOT)];
        farside_locals_t locals;
        unsigned long long active[WORDS];
    };
    static Copy before, filtered;
    const auto save = [vlSelf](Copy &copy) {
        std::memcpy(copy.root, vlSelf, sizeof copy.root);
        std::memcpy(&copy.locals, &farside_locals, sizeof copy.locals);
        std::memcpy(copy.active, farside_active, sizeof copy.active);
    };
    const auto restore = [vlSelf](const Copy &copy) {
        std::memcpy(static_cast<void *>(vlSelf), copy.root, sizeof copy.root);
        std::memcpy(&farside_locals, &copy.locals, sizeof copy.locals);
        std::memcpy(farside_active, copy.active, sizeof copy.active);
    };
    static constexpr unsigned long long all[WORDS] = {FULL};
    save(before);
    farside_clock(vlSelf);
    save(filtered);
    restore(before);
    std::memcpy(farside_active, all, sizeof all);
    farside_clock(vlSelf);
    const bool same = std::memcmp(filtered.root, vlSelf, sizeof filtered.root) == 0
        && std::memcmp(&filtered.locals, &farside_locals, sizeof filtered.locals) == 0;
    restore(filtered);
    return same;
}
"""


def _tell_writes(text: str, arrays: set[str]) -> str:
    """``text``, saying in ``wrote`` that an element of one of ``arrays`` was written."""
    return _LVALUE.sub(lambda found: f"{' wrote = true;' if found[1] in arrays else ''}{found[0]}",
                       text)


def add_filter(directory: Path, prefix: str) -> int:
    """Rewrite the code in ``directory``; returns the number of chunks.

    Raises :class:`Unexpected`, having changed nothing.
    """
    design = _Design(directory, prefix)
    statements = design.statements
    before = _conflicts(statements)
    chunks = _schedule(statements, before, _together(statements, before))
    place = {number: index for index, chunk in enumerate(chunks) for number in chunk}
    readers: dict[str, set[int]] = defaultdict(set)
    for number, one in enumerate(statements):
        for name in one.reads:
            readers[name].add(place[number])

    root = design.root
    words = -(-len(chunks) // (64 * STRIDE)) * STRIDE

    def reference(name: str) -> str:
        return (LOCALS if name in design.locals else "vlSelfRef.") + name

    def wake(of: set[int]) -> str:
        masks: dict[int, int] = defaultdict(int)
        for index in of:
            masks[index // 64] |= 1 << index % 64
        return " ".join(f"farside_active[{word}] |= 0x{mask:x}ULL;"
                        for word, mask in sorted(masks.items()))

    def emit(index: int, chunk: list[int]) -> str:
        numbers = sorted(chunk)
        writes = sorted({name for number in numbers for name in statements[number].writes})
        # What surely runs again needs no comparison to know it.
        again = {index} if any(map(RESTLESS.search, writes)) else set()
        watched = [name for name in writes
                   if readers[name] - again and name not in design.memories]
        # Variables with the same readers are compared at once.
        by_readers: dict[frozenset[int], list[str]] = defaultdict(list)
        for name in watched:
            by_readers[frozenset(readers[name] - again)].append(name)
        arrays = {name for number in numbers for name in statements[number].arrays}
        woken = {reader for name in arrays for reader in readers[name]} - again
        lines = [f"void farside_chunk_{index}({root}* vlSelf) {{",
                 "    auto& vlSelfRef = *vlSelf;"]
        lines += [f"    const auto old_{n} = {reference(name)};"
                  for n, name in enumerate(watched)]
        if woken:
            lines.append("    bool wrote = false;")
        lines += [f"    {_tell_writes(statements[number].text, arrays if woken else set())}"
                  for number in numbers]
        order = {name: n for n, name in enumerate(watched)}
        for of, names in by_readers.items():
            differs = " | ".join(f"farside_differs(old_{order[name]}, {reference(name)})"
                                 for name in names)
            lines.append(f"    if ({differs}) {{ {wake(set(of))} }}")
        if woken:
            lines.append(f"    if (wrote) {{ {wake(woken)} }}")
        if again:
            lines.append(f"    {wake(again)}")
        return "\n".join([*lines, "}", ""])

    head = ["#pragma once", f'#include "{prefix}__pch.h"', "#include <cstring>",
            "#include <type_traits>", _PRELUDE, *sorted(design.externs),
            f"extern unsigned long long farside_active[{words}];",
            "extern struct farside_locals_t {",
            *(f"    {kind} {name};" for name, kind in sorted(design.locals.items())),
            "} farside_locals;", ""]
    (directory / HEADER).write_text("\n".join(head))
    include = f'#include "{HEADER}"'
    parts: list[list[str]] = [[] for _ in range(FILES)]
    for index, chunk in enumerate(chunks):
        parts[index * FILES // len(chunks)].append(emit(index, chunk))
    for part, texts in enumerate(parts):
        (directory / f"farside_chunks_{part}.cpp").write_text("\n".join([include, *texts]))
    (directory / "farside_edge.cpp").write_text(
        "\n".join([include, *_edge(design, chunks, readers, reference, wake, words)]))

    first, *others = design.functions
    for path, text in design.files.items():
        for name in (first, *others):
            call = "    farside_edge(vlSelf);\n" if name == first else ""
            pattern = re.compile(_FUNCTION.format(name=name, root=root), re.DOTALL | re.MULTILINE)
            text = pattern.sub(f"void farside_edge({root}* vlSelf);\n"
                               f"void {name}({root}* vlSelf) {{\n{call}}}\n", text)
        path.write_text(text)
    return len(chunks)


def _edge(design: _Design, chunks: list[list[int]], readers: dict[str, set[int]],
          reference: Callable[[str], str], wake: Callable[[set[int]], str],
          words: int) -> Iterator[str]:
    root = design.root
    full = [(1 << max(0, min(64, len(chunks) - 64 * word))) - 1 for word in range(words)]
    yield f"unsigned long long farside_active[{words}] = {{"
    yield "    " + ", ".join(f"0x{word:x}ULL" for word in full) + "};"
    yield "farside_locals_t farside_locals;"
    for index in range(len(chunks)):
        yield f"void farside_chunk_{index}({root}* vlSelf);"
    yield f"static void (*const farside_chunks[])({root}*) = {{"
    for index in range(len(chunks)):
        yield f"    farside_chunk_{index},"
    yield "};"
    for name in design.inputs_first:
        yield f"void {name}({root}* vlSelf);"
    for name in sorted(design.watched):
        yield f"static std::remove_cvref_t<decltype({root}::{name})> seen_{name};"
    yield f"void farside_edge({root}* vlSelf);"
    yield "// After a change from outside: every chunk is to run."
    yield "void farside_wake_all() {"
    for number, word in enumerate(full):
        yield f"    farside_active[{number}] = 0x{word:x}ULL;"
    yield "}"
    yield "// A whole clock, without Verilator's search for what has to be evaluated."
    yield f"void farside_clock({root}* vlSelf) {{"
    for name in design.inputs_first:
        yield f"    {name}(vlSelf);"
    yield "    farside_edge(vlSelf);"
    yield "}"
    yield _RUN.replace("ROOT", root)
    yield f"void farside_edge({root}* vlSelf) {{"
    yield "    auto& vlSelfRef = *vlSelf;"
    for name in sorted(design.watched):
        yield f"    if (farside_differs(seen_{name}, {reference(name)})) {{"
        yield f"        seen_{name} = {reference(name)}; {wake(readers[name])}"
        yield "    }"
    # Nothing runs while a stride is found clear, so none of its bits can be set then. Written out
    # word by word: a loop around this costs more instructions than what it goes round.
    for start in range(0, words, STRIDE):
        stride = range(start, start + STRIDE)
        yield f"    if ({' | '.join(f'farside_active[{word}]' for word in stride)}) {{"
        for word in stride:
            yield (f"        farside_run(farside_active[{word}], farside_chunks + {64 * word}, "
                   "vlSelf);")
        yield "    }"
    yield "}"
    yield _CHECK.replace("ROOT", root).replace("WORDS", str(words)).replace(
        "FULL", ", ".join(f"0x{word:x}ULL" for word in full))
