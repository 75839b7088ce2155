"""Files made to break a reader: their code would run, their sections lie. `inspect`, `diff` and `manifest` answer, and a
host that is given them runs on; whatever the deep look costs, it costs its own process."""
import os
import struct

import keeltest
from keeltest import build, content, counter

HEAD = "<IIQQQQIIQQ"  # of a section: name, type, flags, address, offset, size, link, info, align, entry
FLAGS, OFFSET, SIZE, LINK, INFO, ENTRY = 2, 4, 5, 6, 7, 9
COMPRESSED = 0x800


class Sections:
    """The sections of an image, to be lied about."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.at, = struct.unpack_from("<Q", data, 40)
        count, names = struct.unpack_from("<HH", data, 60)
        heads = [list(struct.unpack_from(HEAD, data, self.at + i * 64)) for i in range(count)]
        text = data[heads[names][OFFSET]:]
        self.heads = {text[h[0]:text.index(b"\0", h[0])].decode(): (i, h) for i, h in enumerate(heads)}

    def set(self, name, **fields):
        number, head = self.heads[name]
        for field, value in fields.items():
            head[globals()[field]] = value
        struct.pack_into(HEAD, self.data, self.at + number * 64, *head)

    def fill(self, name, part):
        _, head = self.heads[name]
        whole = (part * (head[SIZE] // len(part) + 1))[:head[SIZE]]
        self.data[head[OFFSET]:head[OFFSET] + head[SIZE]] = whole

    def relocations(self):
        return [name for name in self.heads if name.startswith((".rela.text", ".rela.debug"))]


def debug(s):
    return [name for name in s.heads if name.startswith(".debug_")]


def overlapping(s):
    for name in debug(s) + [".symtab", ".strtab"]:
        s.set(name, OFFSET=0, SIZE=len(s.data))


def all_in_one_place(s):
    for name in debug(s):
        s.set(name, OFFSET=s.heads[".debug_info"][1][OFFSET], SIZE=s.heads[".debug_info"][1][SIZE])


def sizes_overflow(s):
    for name in debug(s) + [".symtab"]:
        s.set(name, OFFSET=2**64 - 16, SIZE=2**64 - 1)


def offsets_wrap(s):
    for name in debug(s) + [".symtab"] + s.relocations():
        s.set(name, OFFSET=2**63, SIZE=2**63)


def too_many_sections(s):
    struct.pack_into("<H", s.data, 60, 0xfffe)


def no_entry_size(s):
    for name in [".symtab"] + s.relocations():
        s.set(name, ENTRY=0)


def tables_that_mean_themselves(s):
    for name in [".symtab"] + s.relocations():
        s.set(name, LINK=s.heads[name][0], INFO=s.heads[name][0])


def links_to_nowhere(s):
    for name in [".symtab"] + s.relocations():
        s.set(name, LINK=2**32 - 1, INFO=2**32 - 1)


def endless_names(s):
    for name in (".strtab", ".debug_str", ".debug_line_str"):
        if name in s.heads:
            s.fill(name, b"A")


def endless_names_of_sections(s):
    s.fill(".shstrtab", b"A")


def unpacks_to_a_tebibyte(s):
    for name in debug(s):
        _, head = s.heads[name]
        if head[SIZE] >= 24:
            struct.pack_into("<IIQQ", s.data, head[OFFSET], 1, 0, 2**40, 1)
            s.set(name, FLAGS=head[FLAGS] | COMPRESSED)


def one_byte_again_and_again(value):
    def change(s):
        for name in debug(s) + s.relocations() + [".symtab"]:
            s.fill(name, bytes([value]))
    change.__name__ = "sections full of %#x" % value
    return change


def types_in_a_circle(s):
    """Names for types, each of which means the next, the last the first."""
    _, info = s.heads[".debug_info"]
    count = (info[SIZE] - 14) // 5
    unit = struct.pack("<IHBBIB", info[SIZE] - 4, 5, 1, 8, 0, 1)
    for i in range(count):
        unit += struct.pack("<BI", 2, 13 + 5 * ((i + 1) % count))
    s.fill(".debug_info", unit.ljust(info[SIZE], b"\0"))
    s.fill(".debug_abbrev", bytes([1, 0x11, 1, 0, 0, 2, 0x16, 0, 0x49, 0x13, 0, 0]).ljust(
        s.heads[".debug_abbrev"][1][SIZE], b"\0"))


LIES = [overlapping, all_in_one_place, sizes_overflow, offsets_wrap, too_many_sections, no_entry_size,
        tables_that_mean_themselves, links_to_nowhere, endless_names, endless_names_of_sections,
        unpacks_to_a_tebibyte, one_byte_again_and_again(0), one_byte_again_and_again(1),
        one_byte_again_and_again(0xff), types_in_a_circle]


def hostile(lie, data):
    sections = Sections(data)
    lie(sections)
    return bytes(sections.data)


class Hostile(keeltest.KeelTest):
    def setUp(self):
        super().setUp()
        self.good = build(counter(1))
        self.data = content(self.good)

    def put(self, name, data):
        with open(self.path("part"), "wb") as file:
            file.write(data)
        os.rename(self.path("part"), self.path(name))
        return self.path(name)

    def test_the_commands_answer(self):
        for lie in LIES:
            bad = self.put("bad.so", hostile(lie, self.data))
            for words in (["inspect", bad], ["diff", self.good, bad], ["diff", bad, self.good],
                          ["diff", bad, bad], ["manifest", bad, "-o", self.path("m")]):
                with self.subTest(lie=lie.__name__, command=words[0]):
                    done = self.keel(*words)
                    self.assertIn(done.returncode, (0, 1, 2), done.stderr)
                    self.assertTrue(done.stdout or done.stderr)
                    if done.returncode == 2:
                        self.sentence(done.stderr)

    def test_a_host_runs_on(self):
        host = self.running(self.good)
        for lie in LIES:
            mark = host.mark()
            # Another build each time, so that none is taken for the one before.
            self.put("m.so", hostile(lie, content(build(counter(10 + LIES.index(lie))))))
            host.wait(r"refused: |generation \d+ → \d+|same code", after=mark)
            host.frames_pass(3)
            self.assertEqual(host.slot()["faults"], 0, lie.__name__)
        mark = host.mark()
        self.place(build(counter(2)))
        host.wait("build 2 runs", after=mark)
        host.end()


if __name__ == "__main__":
    keeltest.main()
